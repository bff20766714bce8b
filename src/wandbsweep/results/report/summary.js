// The summary: what the sweep is, its best trial, how far it is, and whether to continue.

addPanel({ id: "summary", card: false, label: "Summary", draw: drawSummary });

function drawSummary() {
  const best = data.best[0];
  $("mark").textContent = data.sweep_id;
  const what = data.metrics.length ? data.metrics.map(m => `${m.goal} ${m.name}`).join(", ") : data.metric ? `${data.goal} ${data.metric}` : "no metric";
  const when = new Date(data.generated * 1000).toISOString().slice(0, 16).replace("T", " ");
  const parts = [data.method, `over ${pluralize(data.parameters.length, "parameter")}`, what];
  $("summary").replaceChildren(
    el("div", {}, el("h1", {}, data.name ?? `Sweep ${data.sweep_id}`), el("p", { class: "sub" }, `${parts.join(" · ")} · ${data.running ? "running, " : ""}as of ${when} UTC`), data.description ? el("p", { class: "sub" }, data.description) : null),
    el("div", { class: "tiles" }, makeBestTile(best), makeTrialsTile(), makeSavingsTile(), makeVerdictTile()),
    data.best.length ? el("div", { class: "card", id: "best" }, el("div", { class: "heading" }, el("h2", {}, data.metrics.length ? `The Pareto front: ${pluralize(data.best.length, "trial")} that no other beats in every metric` : "Train the best one again")), data.best.slice(0, 3).map(makeBestBlock), data.best.length > 3 ? el("details", {}, el("summary", {}, `${data.best.length - 3} more`), data.best.slice(3).map(makeBestBlock)) : null) : null,
  );
}

const makeTile = (title, big, ...more) => el("div", { class: "tile" }, el("h3", {}, title), el("div", { class: "big" }, big), ...more);

function makeBestTile(best) {
  if (!best) return makeTile("Best", "–", el("p", {}, data.ranked ? "no trial has a value yet" : "the sweep has no metric, so nothing says what is better"));
  const trial = trials.get(best.n);
  const mean = trial.mean !== undefined && trial.mean !== null;
  return makeTile(
    data.metrics.length ? `First of the front, ${metricName()}` : `Best ${metricName()}`,
    format(mean ? trial.mean : valueOf(trial)),
    el("p", {}, data.metrics.length ? best.achieved : mean ? `${best.achieved.replace(`${metricName()} `, "")} (trial ${best.n} first)` : `trial ${best.n}, ${trial.state} after ${pluralize(trial.steps, "step")}`),
  );
}

function makeTrialsTile() {
  const ended = ["finished", "stopped", "failed", "crashed"].reduce((sum, state) => sum + (data.counts[state] ?? 0), 0);
  const there = STATES.filter(state => data.counts[state]);
  return makeTile(
    "Trials",
    data.run_cap ? `${ended} of ${data.run_cap}` : String(ended),
    el("div", { class: "meter", "aria-hidden": "true" }, there.map(state => el("i", { style: { background: `var(--${state})`, flexGrow: data.counts[state] } }))),
    el("p", {}, there.map(state => `${data.counts[state]} ${state}`).join(" · ") || "none yet"),
  );
}

function makeSavingsTile() {
  const saved = data.savings;
  if (!saved || saved.whole === null) return makeTile("Time in trials", formatDuration(data.trials.reduce((sum, trial) => sum + (trial.seconds ?? 0), 0)), el("p", {}, data.stopper ? "nothing was stopped early so far" : "no early termination"));
  const doubtful = saved.doubtful.length;
  return makeTile(
    "Saved by stopping early",
    formatPercent(saved.share),
    el("p", {}, `${pluralize(saved.steps, "step")}, about ${formatDuration(saved.seconds)}, in ${pluralize(saved.stopped, "trial")}`),
    el("p", {}, !saved.judged ? "whether rightly is unknown" : doubtful ? `${pluralize(doubtful, "stopped trial")} might have won: ${saved.doubtful.slice(0, 3).map(([n]) => n).join(", ")}` : "none of them was likely to win"),
  );
}

function makeVerdictTile() {
  const verdict = data.analysis?.convergence;
  if (!verdict) return makeTile("Continue?", "–", el("p", {}, "nothing to judge by"));
  const big = verdict.converged ? "Time to stop" : verdict.warning ? "Too early to tell" : verdict.stalled ? "Stalled, but scattered" : verdict.concentrated ? "Closing in" : "Yes, it still improves";
  return makeTile("Continue searching?", big, el("ul", {}, verdict.reasons.map(reason => el("li", {}, reason))));
}

function makeBestBlock(best) {
  const copy = el("button", { type: "button", onclick: () => copyText(best.command, copy) }, "Copy");
  return el(
    "div",
    { class: "best" },
    el("div", {}, el("b", {}, `Trial ${best.n}`), ` · ${best.achieved}`, el("div", { class: "chips" }, best.params.map(([name, value]) => el("span", { class: "chip" }, el("span", {}, `${name} `), el("b", {}, value))))),
    ...(best.command ? [copy, el("pre", { class: "wrap" }, best.command)] : []),
  );
}

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { style: { position: "fixed", opacity: 0 } });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}
