// Learning curves: what each trial reported as it ran, in the colour of its rank.

const curveView = { metric: null, smoothing: 0, log: false, time: false };

addPanel({
  id: "curves",
  parts: [makeHeading("Learning curves", null, el("div", { class: "tools", id: "curve-tools" })), el("div", { class: "chart", id: "learning" }), el("div", { class: "legend", id: "endings" })],
  draw: drawCurves,
});

/** The names of the metrics that have curves, the sweep's own first. */
function listCurveMetrics() {
  const own = data.metric && data.trials.some(trial => trial.curve[0].length > 1) ? [data.metric] : [];
  const others = Object.entries(data.curves.metrics).filter(([, curves]) => Object.values(curves).some(([steps]) => steps.length > 1));
  return [...own, ...others.map(([name]) => name)];
}

/** The curve of a trial: steps and values; undefined if it has none. */
const curveOf = (trial, name) => (name === data.metric ? trial.curve : data.curves.metrics[name]?.[trial.n]);

/** A moving average that weighs older values exponentially less, corrected for its start, as W&B's charts have it. */
function smoothCurve(values, weight) {
  let [sum, norm] = [0, 0];
  return values.map(value => {
    if (value === null) return null;
    [sum, norm] = [sum * weight + value, norm * weight + 1];
    return sum / norm;
  });
}

function drawCurves() {
  const names = listCurveMetrics();
  if (!names.length) return false;
  const paths = new Map();
  const ends = [];
  const metricNow = () => (names.includes(curveView.metric) ? curveView.metric : names[0]);

  function listDrawn() {
    const found = [];
    for (const trial of data.trials) {
      const curve = curveOf(trial, metricNow());
      if (!curve?.[1].some(value => value !== null)) continue;
      const seconds = curveView.time ? new Map((data.curves.seconds[trial.n] ?? [[], []])[0].map((step, i) => [step, data.curves.seconds[trial.n][1][i]])) : null;
      const xs = curve[0].map(step => (seconds ? seconds.get(step) ?? null : step));
      const kept = xs.map((x, i) => i).filter(i => xs[i] !== null && curve[1][i] !== null);
      if (kept.length) found.push({ trial, xs: kept.map(i => xs[i]), raw: kept.map(i => curve[1][i]), values: smoothCurve(kept.map(i => curve[1][i]), curveView.smoothing) });
    }
    return found.sort((a, b) => (tone.get(a.trial.n) ?? -1) - (tone.get(b.trial.n) ?? -1)); // the best on top
  }

  const it = makeChart($("learning"), { height: width => (width < 600 ? 300 : 380), left: 62, top: 26, label: "Learning curves" }, () => {
    const drawn = listDrawn();
    const name = metricNow();
    const all = drawn.flatMap(c => c.values);
    const y = makeMetricScale(all, { direction: name === data.metric ? goal() : null, logarithmic: curveView.log, share: 0.04 });
    const [first, last] = drawn.length ? findExtent(drawn.flatMap(c => [c.xs[0], c.xs[c.xs.length - 1]])) : [0, 1];
    const x = makeNumberScale(first, Math.max(last, first + (curveView.time ? 1e-3 : 1)), false, !curveView.time);
    drawAxes(it, x, y, { xName: curveView.time ? "seconds of work" : "step", yName: name });
    paths.clear();
    ends.length = 0;
    const context = it.context;
    const leaving = [];
    const trace = (points, alpha) => {
      context.globalAlpha = alpha;
      context.beginPath();
      points.forEach(([px, py], i) => (i ? context.lineTo(px, py) : context.moveTo(px, py)));
      context.stroke();
    };
    context.save();
    context.beginPath();
    context.rect(it.left, it.top - 2, it.innerWidth, it.innerHeight + 4);
    context.clip();
    const at = (px, value) => [it.x(x.place(px)), it.y(Math.min(Math.max(Number.isNaN(y.place(value)) ? -0.05 : y.place(value), -0.05), 1.05))];
    for (const { trial, xs, raw, values } of drawn) {
      const points = xs.map((px, i) => at(px, values[i]));
      paths.set(trial.n, points);
      const kept = isInRanges(trial);
      context.strokeStyle = tone.has(trial.n) ? trialColour(trial) : readColour(trial.state);
      context.lineWidth = 1 + (tone.get(trial.n) ?? 0) * 0.8;
      if (kept && curveView.smoothing && drawn.length <= 60) trace(xs.map((px, i) => at(px, raw[i])), 0.18);
      trace(points, kept ? (drawn.length > 200 ? 0.55 : 0.85) : 0.08);
      const [px, py] = points[points.length - 1];
      ends.push({ trial, x: px, y: py });
      const gone = xs.findIndex((_, i) => placeInside(y, values[i])[1]);
      if (gone >= 0 && kept) leaving.push({ trial, x: points[gone][0], out: placeInside(y, values[gone])[1] });
      if (trial.state !== "finished" || points.length === 1) drawMark(context, trial.state, px, py, readColour(trial.state), 0.9, readColour("card"));
    }
    context.restore();
    const marks = new Map(leaving.map(p => [`${p.out} ${Math.round(p.x / 6)}`, p])); // one where many leave at once
    for (const { x: px, out } of marks.values()) drawMark(context, out, px, out === "over" ? it.top : it.y(0), readColour("soft"), 0.8, readColour("card"));
    const there = STATES.filter(state => state !== "finished" && drawn.some(c => c.trial.state === state));
    $("endings").replaceChildren(
      ...there.map(state => makeKey(state, state === "stopped" ? "stopped early" : state)),
      leaving.length ? makeKey(leaving[0].out, `${pluralize(leaving.length, "curve")} partly outside the range`) : "",
      data.thinned ? el("span", {}, "long curves are thinned out evenly") : "",
    );
  });
  it.light = () => it.lit.replaceChildren(...listHighlighted().filter(n => paths.has(n)).map(n => svg("g", {}, makeLine(paths.get(n)), makeRing(...paths.get(n)[paths.get(n).length - 1]))));
  addPointing(it, (px, py) => findNearestPoint(ends, px, py, 10) ?? findNearestLine(paths, px, py));

  function showTools() {
    const set = (key, value) => {
      curveView[key] = value;
      showTools();
      it.draw();
    };
    const slide = el("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: curveView.smoothing, "aria-label": "Smoothing", oninput: event => ((curveView.smoothing = Number(event.target.value)), it.draw()) });
    $("curve-tools").replaceChildren(
      names.length > 1 ? makeChoice("Metric", names.map(name => [name]), metricNow(), name => set("metric", name)) : "",
      el("label", { class: "choice" }, el("span", {}, "Smoothing"), slide),
      makeSwitch("log y", curveView.log, on => set("log", on)),
      Object.keys(data.curves.seconds).length ? makeSwitch("time on x", curveView.time, on => set("time", on)) : "",
    );
  }
  showTools();
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
