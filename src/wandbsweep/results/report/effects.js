// Partial dependence: the metric over each parameter, as a model averages it over all the others, with the trials.

const MANY_EFFECTS = 12;
let areAllEffectsShown = false;

addPanel({
  id: "dependence",
  parts: [makeHeading("Partial dependence"), el("div", { class: "multiples", id: "effects" }), el("div", { class: "more", id: "more-effects" }), el("p", { class: "note", id: "effects-note" })],
  draw: drawEffects,
});

/** The axes of the parameters that differ between trials, the most important first. */
function listEffectAxes() {
  const usable = data.parameters.map(makeParameterAxis).filter(axis => new Set(data.trials.map(axis.at).filter(at => at !== null)).size > 1);
  const weights = new Map((data.analysis.metrics[0]?.rows ?? []).map(row => [row.name, row.importance[0] ?? Math.abs(row.rank?.[0] ?? 0)]));
  return usable.sort((a, b) => (weights.get(b.name) ?? 0) - (weights.get(a.name) ?? 0));
}

function drawEffects() {
  const axes = listEffectAxes();
  const valued = data.trials.filter(trial => valueOf(trial) !== null);
  if (!axes.length || valued.length < 2) return false;
  const models = new Map((data.analysis.metrics[0]?.rows ?? []).map(row => [row.name, row.dependence]));
  const y = makeMetricScale(valued.map(valueOf));
  const shown = areAllEffectsShown ? axes : axes.slice(0, MANY_EFFECTS);
  const hosts = shown.map(() => el("div", { class: "chart" }));
  $("effects").replaceChildren(...hosts);
  shown.forEach((axis, i) => drawEffect(hosts[i], valued, axis, y, models.get(axis.name)));
  $("more-effects").replaceChildren(shown.length < axes.length ? el("button", { type: "button", onclick: () => ((areAllEffectsShown = true), rebuild()) }, `Show all ${axes.length}`) : "");
  const modelled = [...models.values()].some(Boolean);
  const fromModel = modelled ? "Line: what a random forest predicts along the parameter, averaged over the whole range of all others; band: 80 % of resampled sweeps. Where no trial is near, it extrapolates." : "There is no model: it needs scikit-learn and at least 8 trials with different values.";
  $("effects-note").textContent = `Marks: the trials, in the colours of their ranks. ${fromModel}`;
}

function drawEffect(host, valued, axis, y, model) {
  const points = [];
  const it = makeChart(host, { height: 236, left: 56, top: 26, bottom: 38, label: `${metricName()} over ${axis.name}` }, () => {
    drawAxes(it, inset(axis), y, { xName: axis.label, yName: valueName() });
    points.length = 0;
    const count = axis.kind === "list" ? axis.ticks().length : 0;
    for (const trial of valued) {
      const at = axis.at(trial);
      if (at === null) continue;
      // Listed values: side by side, by number, so that equal ones do not hide each other.
      const aside = count ? ((((trial.n * 0.618034) % 1) - 0.5) * 0.3) / Math.max(count, 2) : 0;
      const [up, out] = placeInside(y, valueOf(trial));
      points.push({ trial, x: it.x(squeeze(at) + aside), y: it.y(up), out });
    }
    for (const { trial, x, y: py, out } of points) {
      it.context.globalAlpha = isInRanges(trial) ? 0.85 : 0.1;
      drawMark(it.context, out ?? trial.state, x, py, trialColour(trial), valued.length > 200 ? 0.6 : 0.8, readColour("soft"));
    }
    it.context.globalAlpha = 1;
    if (model) drawModel(it, axis, y, model);
  });
  addPoints(it, points);
}

function drawModel(it, axis, y, [values, mean, low, high]) {
  const place = (i, of) => [it.x(squeeze(axis.place(values[i]))), it.y(placeInside(y, of[i])[0])];
  const known = values.map((_, i) => i).filter(i => axis.place(values[i]) !== null);
  const group = svg("g", { class: "model" });
  if (axis.kind === "list") {
    for (const i of known) {
      const [[x, py], [, bottom], [, top]] = [mean, low, high].map(of => place(i, of));
      group.append(svg("path", { d: `M${x},${bottom}V${top}M${x - 12},${py}h24`, stroke: "var(--accent)", "stroke-width": 2 }));
    }
  } else {
    const write = list => list.map(([x, py]) => `${x.toFixed(1)},${py.toFixed(1)}`).join("L");
    const band = [...known.map(i => place(i, low)), ...[...known].reverse().map(i => place(i, high))];
    group.append(svg("path", { d: `M${write(band)}Z`, fill: "var(--accent)", "fill-opacity": 0.18 }), svg("path", { d: `M${write(known.map(i => place(i, mean)))}`, fill: "none", stroke: "var(--accent)", "stroke-width": 2 }));
  }
  it.layer.append(group);
}

// A little room at both ends, for marks and for a list's first and last value.
const squeeze = at => 0.08 + 0.84 * at;
const inset = axis => ({ ...axis, ticks: count => axis.ticks(count).map(([at, text]) => [squeeze(at), text]) });
