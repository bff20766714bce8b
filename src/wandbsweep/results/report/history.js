// How the search went: the value of each trial in turn with the best so far, and what each trial reported as it ran.

function progress() {
  const valued = data.trials.filter(trial => valueOf(trial) !== null);
  $("history").hidden = !valued.length;
  if (!valued.length) return;
  const y = numeric(...padded(robust(valued.map(valueOf))), false, false);
  const x = numeric(-0.5, Math.max(1, data.trials.length - 0.5), false, true);
  const points = [];
  const it = chart($("progress"), { height: 320, left: 58, top: 26, label: `${metricName()} of each trial in turn` }, () => {
    axes(it, x, y, { xName: "trial", yName: metricName() });
    points.length = 0;
    for (const trial of valued) {
      const at = Math.min(Math.max(y.place(valueOf(trial)), 0), 1);
      points.push({ trial, x: it.x(x.place(trial.n)), y: it.y(at) });
    }
    const size = valued.length > 400 ? 0.7 : 1;
    for (const point of points) {
      it.context.globalAlpha = within(point.trial) ? 0.9 : 0.12;
      mark(it.context, point.trial.state, point.x, point.y, ink(point.trial.state), size, valued.length < 400 ? ink("card") : null);
    }
    it.context.globalAlpha = 1;
    if (data.ranked && !data.metrics.length) it.layer.append(svg("path", { d: bestSoFar(it, x, y, valued), fill: "none", stroke: "var(--ink)", "stroke-width": 1.8 }));
    if (data.target !== null && y.place(data.target) >= 0 && y.place(data.target) <= 1) it.layer.append(svg("line", { x1: it.left, x2: it.width - it.right, y1: it.y(y.place(data.target)), y2: it.y(y.place(data.target)), stroke: "var(--good)", "stroke-dasharray": "5 4" }));
  });
  it.light = () => it.lit.replaceChildren(...lit().flatMap(n => points.filter(p => p.trial.n === n).map(p => ring(p.x, p.y))));
  pointing(it, (px, py) => nearestPoint(points, px, py));
  const there = STATES.filter(state => valued.some(trial => trial.state === state));
  $("states").replaceChildren(...there.map(state => key(state)), data.ranked && !data.metrics.length ? el("span", { class: "key" }, svg("svg", { viewBox: "0 0 12 12" }, svg("path", { d: "M0,3H6V8H12", stroke: "var(--ink)", "stroke-width": 2, fill: "none" })), "best so far") : "");
}

function bestSoFar(it, x, y, valued) {
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

/** Of several metrics: the first two against each other, and the front that no trial is beyond. */
function front() {
  const [one, two] = data.metrics;
  const read = m => trial => trial.metrics[m.name] ?? null;
  const both = data.trials.filter(trial => read(one)(trial) !== null && read(two)(trial) !== null);
  $("curves").hidden = !both.length;
  if (!both.length) return;
  $("curves").querySelector("h2").textContent = "The front";
  const [x, y] = [one, two].map(m => numeric(...padded(robust(both.map(read(m)), m.goal)), false, false));
  const clamp = at => Math.min(Math.max(at, 0), 1);
  const best = new Set(data.best.map(b => b.n));
  const points = [];
  const it = chart($("learning"), { height: 320, left: 58, top: 26, label: `${two.name} against ${one.name}` }, () => {
    axes(it, x, y, { xName: `${one.name} (${one.goal})`, yName: `${two.name} (${two.goal})` });
    points.length = 0;
    for (const trial of both) points.push({ trial, x: it.x(clamp(x.place(read(one)(trial)))), y: it.y(clamp(y.place(read(two)(trial)))) });
    for (const p of points) {
      it.context.globalAlpha = within(p.trial) ? 0.9 : 0.12;
      mark(it.context, p.trial.state, p.x, p.y, best.has(p.trial.n) ? ink("accent") : ink("faint"), best.has(p.trial.n) ? 1.2 : 0.8, ink("card"));
    }
    it.context.globalAlpha = 1;
    const edge = points.filter(p => best.has(p.trial.n)).sort((a, b) => a.x - b.x);
    if (data.metrics.length === 2 && edge.length > 1) it.layer.append(svg("path", { d: `M${edge.map(p => `${p.x},${p.y}`).join("L")}`, fill: "none", stroke: "var(--accent)", "stroke-width": 1.3, "stroke-dasharray": "4 4" }));
  });
  it.light = () => it.lit.replaceChildren(...lit().flatMap(n => points.filter(p => p.trial.n === n).map(p => ring(p.x, p.y))));
  pointing(it, (px, py) => nearestPoint(points, px, py));
  $("endings").replaceChildren(el("span", {}, "blue: no other trial beats it in everything"));
}

function learning() {
  if (data.metrics.length > 1) return front();
  const drawn = data.trials.map(trial => ({ trial, steps: trial.curve[0], values: trial.curve[1] })).filter(c => c.values.some(value => value !== null));
  $("curves").hidden = !drawn.length || drawn.every(c => c.steps.length < 2);
  if ($("curves").hidden) return;
  const lastStep = Math.max(...drawn.map(c => c.steps[c.steps.length - 1]));
  const firstStep = Math.min(...drawn.map(c => c.steps[0]));
  const x = numeric(firstStep, Math.max(lastStep, firstStep + 1), false, true);
  const y = numeric(...padded(robust(drawn.flatMap(c => c.values).filter(value => value !== null)), 0.04), false, false);
  const paths = new Map();
  const ends = [];
  const order = [...drawn].sort((a, b) => (tone.get(a.trial.n) ?? -1) - (tone.get(b.trial.n) ?? -1));
  const it = chart($("learning"), { height: 320, left: 58, top: 26, label: `Learning curves of ${metricName()}` }, () => {
    axes(it, x, y, { xName: "step", yName: metricName() });
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
      const kept = within(trial);
      context.globalAlpha = kept ? (drawn.length > 200 ? 0.55 : 0.85) : 0.08;
      context.strokeStyle = colour(trial);
      context.lineWidth = 1 + (tone.get(trial.n) ?? 0) * 0.8;
      context.beginPath();
      points.forEach(([px, py], i) => (i ? context.lineTo(px, py) : context.moveTo(px, py)));
      context.stroke();
      const [px, py] = points[points.length - 1];
      ends.push({ trial, x: px, y: py });
      if (trial.state !== "finished" || points.length === 1) mark(context, trial.state, px, py, ink(trial.state), 0.9, ink("card"));
    }
    context.restore();
  });
  it.light = () => it.lit.replaceChildren(...lit().filter(n => paths.has(n)).map(n => svg("g", {}, line(paths.get(n)), ring(...paths.get(n)[paths.get(n).length - 1]))));
  pointing(it, (px, py) => nearestPoint(ends, px, py, 10) ?? nearestLine(paths, px, py));
  const there = STATES.filter(state => state !== "finished" && drawn.some(c => c.trial.state === state));
  $("endings").replaceChildren(...there.map(state => key(state, state === "stopped" ? "stopped early" : state)), data.thinned ? el("span", {}, "long curves are thinned out evenly") : "");
}

function nearestLine(paths, px, py, reach = 8) {
  let best = null;
  let least = reach;
  for (const [n, points] of paths) {
    if (!within(trials.get(n))) continue;
    for (let i = 1; i < points.length; i++) {
      const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
      if (px < x0 || px > x1) continue;
      const distance = Math.abs(y0 + ((y1 - y0) * (px - x0)) / (x1 - x0 || 1) - py);
      if (distance <= least) [best, least] = [trials.get(n), distance];
    }
  }
  return best;
}
