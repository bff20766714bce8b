// One trial: what differs from the best, how to train it again, where its files are, its curves, attempts and error.

addPanel({ id: "trial", card: false, label: "The selected trial", draw: drawTrial });

let shownTrial = null;

const detailOf = n => data.details[data.trials.indexOf(trials.get(n))] ?? {};

const makeTrialLink = n => el("button", { type: "button", class: "link", onclick: event => (event.preventDefault(), event.stopPropagation(), selection.pinned === n || togglePin(n)) }, `Trial ${n}`);

function drawTrial() {
  shownTrial = null;
  const follow = () => {
    const n = trials.has(selection.pinned) ? selection.pinned : null;
    if (n === shownTrial) return;
    shownTrial = n;
    showTrial(n);
  };
  redraw.push(follow);
  follow();
}

function showTrial(n) {
  const host = $("trial");
  document.body.classList.toggle("opened", n !== null);
  if (n === null) return host.replaceChildren();
  const trial = trials.get(n);
  const { command, logs, there, url } = detailOf(n);
  const rank = data.order.indexOf(n);
  const best = trials.get(data.best[0]?.n);
  const go = to => el("button", { type: "button", class: "quiet", disabled: !(to in data.order), "aria-label": to < rank ? "The next better trial" : "The next worse trial", onclick: () => togglePin(data.order[to]) }, to < rank ? "‹" : "›");
  const failure = data.failures.find(one => one.n === n);
  const place = data.ranked && valueOf(trial) !== null ? ` · ${rank + 1}. of ${data.trials.length}` : "";
  const facts = [
    ["Steps", String(trial.steps)],
    ["Time", formatDuration(trial.seconds)],
    ["Directory", there ? `${data.directory}/${n}` : null],
    ["Log", logs?.map(log => `${data.directory}/${n}/${log}`).join("\n") || null],
    ["W&B", url ? el("a", { href: url, target: "_blank", rel: "noopener" }, url) : null],
  ];
  host.replaceChildren(
    el("div", { class: "top-line" }, el("h2", {}, makeSymbol(trial.state), ` Trial ${n} `, el("small", {}, `${trial.state}${place}`)), go(rank - 1), go(rank + 1), el("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => togglePin(n) }, "✕")),
    data.metrics.length ? "" : el("p", {}, el("b", {}, `${metricName()} ${format(trial.value)}`), ` ${describeValue(trial)}`),
    trial.infeasible ? el("p", { class: "warning" }, `Infeasible: ${trial.infeasible}`) : "",
    trial.reason ? el("p", { class: ["stopped", "frozen"].includes(trial.state) ? "hint" : "warning" }, trial.reason) : "",
    ...makeParameterList(trial, best),
    ...makeTrialCurve(trial, best),
    ...makeMetricList(trial),
    ...(command ? [el("h3", {}, "Train it again"), makeCommand(command)] : []),
    el("h3", {}, "Where it is"),
    el("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    ...makeAttemptList(n),
    ...(failure?.text ? [el("h3", {}, "Error"), el("pre", { class: "wrap" }, failure.text)] : []),
  );
  host.scrollTop = 0;
  redrawTrialCurve?.();
}

function makeParameterList(trial, best) {
  const rows = data.parameters.map((parameter, i) => [parameter, trial.params[i], best?.params[i]]).filter(([, value]) => value !== null);
  if (!rows.length) return [];
  const isBest = !best || best.n === trial.n;
  const differing = isBest ? rows : rows.filter(([, value, other]) => value !== other);
  const equal = rows.filter(row => !differing.includes(row));
  return [
    el("h3", {}, isBest ? "Parameters" : `Differs from the best (trial ${best.n})`),
    differing.length
      ? el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "parameter"), el("th", { class: "num" }, "here"), isBest ? null : el("th", { class: "num" }, "best"))), el("tbody", {}, differing.map(([parameter, value, other]) => el("tr", {}, el("td", { title: parameter.name }, parameter.label), el("td", { class: "num" }, format(value)), isBest ? null : el("td", { class: "num" }, format(other))))))
      : el("p", { class: "hint" }, "in nothing"),
    equal.length ? el("p", { class: "hint" }, `Equal: ${equal.map(([parameter, value]) => `${parameter.label} ${format(value)}`).join(", ")}`) : "",
  ];
}

function makeMetricList(trial) {
  const rows = Object.entries(trial.metrics);
  if (!rows.length) return [];
  return [el("h3", {}, "Last values"), el("div", { class: "chips" }, rows.map(([name, value]) => el("span", { class: "chip" }, el("span", {}, `${name} `), el("b", {}, format(value)))))];
}

function makeAttemptList(n) {
  const own = data.attempts.filter(([, number]) => number === n);
  if (!own.length) return [];
  const cells = own.map(([agent, , attempt, start, end, state, reason]) => [String(attempt), `agent ${agent || "–"}`, `from ${formatDuration(start)}`, end === null ? "running" : `for ${formatDuration(end - start)}`, state === "queued" ? "released" : state, reason === trials.get(n).reason ? "" : reason]);
  return [el("h3", {}, own.length > 1 ? `${own.length} attempts` : "Its attempt"), el("table", {}, el("tbody", {}, cells.map(row => el("tr", {}, row.map(text => el("td", { title: text.length > 30 ? text : null }, text))))))];
}

let redrawTrialCurve = null;
let trialCurveMetric = null;

/** Its curve over that of the best trial, in grey. */
function makeTrialCurve(trial, best) {
  redrawTrialCurve = null;
  const names = listCurveMetrics().filter(name => curveOf(trial, name)?.[0].length > 1);
  if (!names.length) return [];
  const host = el("div", { class: "chart" });
  const draw = () => {
    const name = names.includes(trialCurveMetric) ? trialCurveMetric : names[0];
    const shown = [best && best.n !== trial.n ? [curveOf(best, name), "faint", 1.3] : null, [curveOf(trial, name), "accent", 2]].filter(one => one?.[0]);
    const x = makeNumberScale(...findExtent(shown.flatMap(([[steps]]) => steps)), false, true);
    const y = makeNumberScale(...addPadding(findExtent(shown.flatMap(([[, values]]) => values).filter(value => value !== null))), false, false);
    makeChart(host, { height: 190, left: 56, top: 22, label: `${name} of trial ${trial.n}` }, it => {
      drawAxes(it, x, y, { xName: "step", yName: name });
      for (const [[steps, values], colour, width] of shown) {
        const points = steps.map((step, i) => [step, values[i]]).filter(([, value]) => value !== null).map(([step, value]) => `${it.x(x.place(step)).toFixed(1)},${it.y(y.place(value)).toFixed(1)}`);
        it.layer.append(svg("path", { d: `M${points.join("L")}`, fill: "none", stroke: `var(--${colour})`, "stroke-width": width }));
      }
    });
  };
  redrawTrialCurve = draw;
  const choice = names.length > 1 ? makeChoice("Metric", names.map(name => [name]), names.includes(trialCurveMetric) ? trialCurveMetric : names[0], name => ((trialCurveMetric = name), draw())) : "";
  return [el("div", { class: "heading" }, el("h3", {}, best && best.n !== trial.n ? "Curve; grey: the best trial's" : "Curve"), el("div", { class: "tools" }, choice)), host];
}
