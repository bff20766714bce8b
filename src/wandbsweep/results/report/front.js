// The Pareto front of a sweep with several metrics: the first two against each other.

addPanel({
  id: "front",
  half: true,
  parts: [makeHeading("Pareto front"), el("div", { class: "chart", id: "pareto" }), el("div", { class: "legend", id: "front-key" })],
  draw: drawFront,
});

function drawFront() {
  if (data.metrics.length < 2) return false;
  const [one, two] = data.metrics;
  const read = m => trial => trial.metrics[m.name] ?? null;
  const both = data.trials.filter(trial => read(one)(trial) !== null && read(two)(trial) !== null);
  if (!both.length) return false;
  const [x, y] = [one, two].map(m => makeMetricScale(both.map(read(m)), { direction: m.goal }));
  const best = new Set(data.best.map(b => b.n));
  const points = [];
  const it = makeChart($("pareto"), { height: 320, left: 58, top: 26, label: `${two.name} against ${one.name}` }, () => {
    drawAxes(it, x, y, { xName: `${one.name} (${one.goal})`, yName: `${two.name} (${two.goal})` });
    points.length = 0;
    for (const trial of both) {
      const [[across, aside], [up, out]] = [placeInside(x, read(one)(trial)), placeInside(y, read(two)(trial))];
      points.push({ trial, x: it.x(across), y: it.y(up), out: out ?? aside });
    }
    $("front-key").replaceChildren(el("span", {}, "blue: no other trial beats it in every metric"), makeOutKey(points) ?? "");
    for (const p of points) {
      it.context.globalAlpha = isInRanges(p.trial) ? 0.9 : 0.12;
      drawMark(it.context, p.out ?? p.trial.state, p.x, p.y, best.has(p.trial.n) ? readColour("accent") : readColour("faint"), best.has(p.trial.n) ? 1.2 : 0.8, readColour("card"));
    }
    it.context.globalAlpha = 1;
    const edge = points.filter(p => best.has(p.trial.n)).sort((a, b) => a.x - b.x);
    if (data.metrics.length === 2 && edge.length > 1) it.layer.append(svg("path", { d: `M${edge.map(p => `${p.x},${p.y}`).join("L")}`, fill: "none", stroke: "var(--accent)", "stroke-width": 1.3, "stroke-dasharray": "4 4" }));
  });
  addPoints(it, points);
}
