// The optimisation history: the value of each trial in turn, with the best so far.

let isHistoryLog = false;

addPanel({
  id: "history",
  half: true,
  parts: [makeHeading("Optimisation history", null, el("span", { id: "history-tools" })), el("div", { class: "chart", id: "progress" }), el("div", { class: "legend", id: "states" })],
  draw: drawProgress,
});

function drawProgress() {
  const valued = data.trials.filter(trial => valueOf(trial) !== null);
  if (!valued.length) return false;
  const canLog = valued.every(trial => valueOf(trial) > 0);
  $("history-tools").replaceChildren(...(canLog ? [makeSwitch("log y", isHistoryLog, on => ((isHistoryLog = on), rebuild()))] : []));
  const y = makeMetricScale(valued.map(valueOf), { logarithmic: isHistoryLog && canLog });
  const x = makeNumberScale(-0.5, Math.max(1, data.trials.length - 0.5), false, true);
  const points = [];
  const lacking = data.trials.filter(trial => valueOf(trial) === null && ["failed", "crashed"].includes(trial.state));
  const it = makeChart($("progress"), { height: 320, left: 58, top: 26, label: `${metricName()} of each trial in turn` }, () => {
    drawAxes(it, x, y, { xName: "trial", yName: valueName() });
    points.length = 0;
    for (const trial of valued) {
      const [at, out] = placeInside(y, valueOf(trial));
      points.push({ trial, x: it.x(x.place(trial.n)), y: it.y(at), out });
    }
    for (const trial of lacking) points.push({ trial, x: it.x(x.place(trial.n)), y: it.y(0) });
    const size = valued.length > 400 ? 0.7 : 1;
    for (const point of points) {
      it.context.globalAlpha = isInRanges(point.trial) ? 0.9 : 0.12;
      drawMark(it.context, point.out ?? point.trial.state, point.x, point.y, readColour(point.trial.state), size, valued.length < 400 ? readColour("card") : null);
    }
    it.context.globalAlpha = 1;
    if (data.ranked && !data.metrics.length) it.layer.append(svg("path", { d: traceBest(it, x, y, valued), fill: "none", stroke: "var(--ink)", "stroke-width": 1.8 }));
    const target = data.target === null ? null : y.place(data.target);
    if (target !== null && target >= 0 && target <= 1) it.layer.append(svg("line", { x1: it.left, x2: it.width - it.right, y1: it.y(target), y2: it.y(target), stroke: "var(--good)", "stroke-dasharray": "5 4" }));
    $("states").replaceChildren(
      ...STATES.filter(state => points.some(point => point.trial.state === state)).map(state => makeKey(state, lacking.some(trial => trial.state === state) ? `${state} (without a value: on the axis)` : state)),
      data.ranked && !data.metrics.length ? el("span", { class: "key" }, svg("svg", { viewBox: "0 0 12 12" }, svg("path", { d: "M0,3H6V8H12", stroke: "var(--ink)", "stroke-width": 2, fill: "none" })), "best so far") : "",
      makeOutKey(points) ?? "",
    );
  });
  addPoints(it, points);
}

function traceBest(it, x, y, valued) {
  let best = null;
  let path = "";
  for (const trial of valued) {
    if (!["finished", "stopped", "frozen"].includes(trial.state) || trial.infeasible) continue;
    const better = best === null || (data.goal === "maximize" ? valueOf(trial) > best : valueOf(trial) < best);
    if (!better) continue;
    const px = it.x(x.place(trial.n));
    best = valueOf(trial);
    const now = it.y(placeInside(y, best)[0]);
    path += path ? `H${px}V${now}` : `M${px},${now}`;
  }
  return path ? `${path}H${it.width - it.right}` : "M0,0";
}
