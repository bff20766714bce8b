// The optimisation history: the value of each trial in turn, with the best so far.

addPanel({
  id: "history",
  nav: "Progress",
  half: true,
  parts: [makeHeading("Optimisation history"), el("div", { class: "chart", id: "progress" }), el("div", { class: "legend", id: "states" })],
  draw: drawProgress,
});

function drawProgress() {
  const valued = data.trials.filter(trial => valueOf(trial) !== null);
  if (!valued.length) return false;
  const y = makeNumberScale(...addPadding(findRange(valued.map(valueOf))), false, false);
  const x = makeNumberScale(-0.5, Math.max(1, data.trials.length - 0.5), false, true);
  const points = [];
  const it = makeChart($("progress"), { height: 320, left: 58, top: 26, label: `${metricName()} of each trial in turn` }, () => {
    drawAxes(it, x, y, { xName: "trial", yName: metricName() });
    points.length = 0;
    for (const trial of valued) {
      const at = Math.min(Math.max(y.place(valueOf(trial)), 0), 1);
      points.push({ trial, x: it.x(x.place(trial.n)), y: it.y(at) });
    }
    const size = valued.length > 400 ? 0.7 : 1;
    for (const point of points) {
      it.context.globalAlpha = isInRanges(point.trial) ? 0.9 : 0.12;
      drawMark(it.context, point.trial.state, point.x, point.y, readColour(point.trial.state), size, valued.length < 400 ? readColour("card") : null);
    }
    it.context.globalAlpha = 1;
    if (data.ranked && !data.metrics.length) it.layer.append(svg("path", { d: traceBest(it, x, y, valued), fill: "none", stroke: "var(--ink)", "stroke-width": 1.8 }));
    if (data.target !== null && y.place(data.target) >= 0 && y.place(data.target) <= 1) it.layer.append(svg("line", { x1: it.left, x2: it.width - it.right, y1: it.y(y.place(data.target)), y2: it.y(y.place(data.target)), stroke: "var(--good)", "stroke-dasharray": "5 4" }));
  });
  addPoints(it, points);
  const there = STATES.filter(state => valued.some(trial => trial.state === state));
  $("states").replaceChildren(...there.map(state => makeKey(state)), data.ranked && !data.metrics.length ? el("span", { class: "key" }, svg("svg", { viewBox: "0 0 12 12" }, svg("path", { d: "M0,3H6V8H12", stroke: "var(--ink)", "stroke-width": 2, fill: "none" })), "best so far") : "");
}

function traceBest(it, x, y, valued) {
  let best = null;
  let path = "";
  for (const trial of valued) {
    if (!["finished", "stopped"].includes(trial.state)) continue;
    const better = best === null || (data.goal === "maximize" ? valueOf(trial) > best : valueOf(trial) < best);
    if (!better) continue;
    const px = it.x(x.place(trial.n));
    const before = best === null ? null : it.y(Math.min(Math.max(y.place(best), 0), 1));
    best = valueOf(trial);
    const now = it.y(Math.min(Math.max(y.place(best), 0), 1));
    path += before === null ? `M${px},${now}` : `H${px}V${now}`;
  }
  return path ? `${path}H${it.width - it.right}` : "M0,0";
}
