// Learning curves: what each trial reported as it ran, in the colour of its rank.

addPanel({
  id: "curves",
  half: true,
  parts: [makeHeading("Learning curves"), el("div", { class: "chart", id: "learning" }), el("div", { class: "legend", id: "endings" })],
  draw: drawCurves,
});

function drawCurves() {
  if (data.metrics.length > 1) return false; // front.js shows these
  const drawn = data.trials.map(trial => ({ trial, steps: trial.curve[0], values: trial.curve[1] })).filter(c => c.values.some(value => value !== null));
  if (!drawn.length || drawn.every(c => c.steps.length < 2)) return false;
  const lastStep = Math.max(...drawn.map(c => c.steps[c.steps.length - 1]));
  const firstStep = Math.min(...drawn.map(c => c.steps[0]));
  const x = makeNumberScale(firstStep, Math.max(lastStep, firstStep + 1), false, true);
  const y = makeNumberScale(...addPadding(findRange(drawn.flatMap(c => c.values).filter(value => value !== null)), 0.04), false, false);
  const paths = new Map();
  const ends = [];
  const order = [...drawn].sort((a, b) => (tone.get(a.trial.n) ?? -1) - (tone.get(b.trial.n) ?? -1));
  const it = makeChart($("learning"), { height: 320, left: 58, top: 26, label: `Learning curves of ${metricName()}` }, () => {
    drawAxes(it, x, y, { xName: "step", yName: metricName() });
    paths.clear();
    ends.length = 0;
    const context = it.context;
    context.save();
    context.beginPath();
    context.rect(it.left, it.top - 2, it.innerWidth, it.innerHeight + 4);
    context.clip();
    for (const { trial, steps, values } of order) {
      const points = steps.map((step, i) => [step, values[i]]).filter(([, value]) => value !== null).map(([step, value]) => [it.x(x.place(step)), it.y(Math.min(Math.max(y.place(value), -0.05), 1.05))]);
      paths.set(trial.n, points);
      const kept = isInRanges(trial);
      context.globalAlpha = kept ? (drawn.length > 200 ? 0.55 : 0.85) : 0.08;
      context.strokeStyle = trialColour(trial);
      context.lineWidth = 1 + (tone.get(trial.n) ?? 0) * 0.8;
      context.beginPath();
      points.forEach(([px, py], i) => (i ? context.lineTo(px, py) : context.moveTo(px, py)));
      context.stroke();
      const [px, py] = points[points.length - 1];
      ends.push({ trial, x: px, y: py });
      if (trial.state !== "finished" || points.length === 1) drawMark(context, trial.state, px, py, readColour(trial.state), 0.9, readColour("card"));
    }
    context.restore();
  });
  it.light = () => it.lit.replaceChildren(...listHighlighted().filter(n => paths.has(n)).map(n => svg("g", {}, makeLine(paths.get(n)), makeRing(...paths.get(n)[paths.get(n).length - 1]))));
  addPointing(it, (px, py) => findNearestPoint(ends, px, py, 10) ?? findNearestLine(paths, px, py));
  const there = STATES.filter(state => state !== "finished" && drawn.some(c => c.trial.state === state));
  $("endings").replaceChildren(...there.map(state => makeKey(state, state === "stopped" ? "stopped early" : state)), data.thinned ? el("span", {}, "long curves are thinned out evenly") : "");
}

function findNearestLine(paths, px, py, reach = 8) {
  let best = null;
  let least = reach;
  for (const [n, points] of paths) {
    if (!isInRanges(trials.get(n))) continue;
    for (let i = 1; i < points.length; i++) {
      const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
      if (px < x0 || px > x1) continue;
      const distance = Math.abs(y0 + ((y1 - y0) * (px - x0)) / (x1 - x0 || 1) - py);
      if (distance <= least) [best, least] = [trials.get(n), distance];
    }
  }
  return best;
}
