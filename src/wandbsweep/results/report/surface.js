// The metric over two parameters: the trials, and a smoothed surface between them.

const GRID = 44;
const surfaceView = { one: null, two: null }; // names of parameters

addPanel({
  id: "surface",
  parts: [
    makeHeading("Two parameters together", null, el("div", { class: "tools", id: "axes" })),
    el("div", { class: "chart", id: "contour" }),
    el("div", { class: "legend", id: "contour-key" }),
  ],
  draw: drawSurface,
});

function drawSurface() {
  const ordered = listEffectAxes();
  const valued = data.trials.filter(trial => valueOf(trial) !== null);
  if (ordered.length < 2 || valued.length < 3) return false;
  const find = (name, other) => ordered.find(axis => axis.name === name) ?? ordered.find(axis => axis.name !== other);
  const one = find(surfaceView.one, surfaceView.two);
  const two = find(surfaceView.two, one.name);
  const choose = (key, label, axis) => makeChoice(label, ordered.map(axis => [axis.name]), axis.name, name => ((surfaceView[key] = name), rebuild()));
  $("axes").replaceChildren(choose("one", "x", one), choose("two", "y", two));
  drawContour($("contour"), valued, () => [one, two]);
  $("contour-key").replaceChildren(makeColourBar(), el("span", {}, "Surface: the trials smoothed (Nadaraya–Watson), faint where few are near. ◯ the best trial."));
}

function drawContour(host, valued, axesNow) {
  const points = [];
  const it = makeChart(host, { height: width => (width < 600 ? 300 : 420), left: 84, top: 26, bottom: 38, label: "The metric over two parameters" }, () => {
    const [a, b] = axesNow();
    points.length = 0;
    const there = valued.filter(trial => tone.has(trial.n) && a.at(trial) !== null && b.at(trial) !== null);
    const surface = smooth(there.map(t => [squeeze(a.at(t)), squeeze(b.at(t)), tone.get(t.n)]));
    paintSurface(it, surface);
    drawAxes(it, inset(a), inset(b), { xName: a.label, yName: b.label, rules: false });
    for (const trial of there) {
      const [x, y] = [it.x(squeeze(a.at(trial))), it.y(squeeze(b.at(trial)))];
      points.push({ trial, x, y });
      it.context.globalAlpha = isInRanges(trial) ? 0.85 : 0.1;
      drawMark(it.context, trial.state, x, y, trialColour(trial), there.length > 400 ? 0.55 : 0.8, readColour("card"));
    }
    it.context.globalAlpha = 1;
    const best = points.find(p => p.trial.n === data.best[0]?.n);
    if (best) it.layer.append(svg("circle", { cx: best.x, cy: best.y, r: 9, fill: "none", stroke: "var(--ink)", "stroke-width": 1.8 }));
  });
  addPoints(it, points);
}

/** The weighted mean of the values around each cell, and how much weight there is (Nadaraya, 1964; Scott's bandwidth). */
function smooth(samples) {
  if (!samples.length) return [];
  const deviation = k => {
    const mean = samples.reduce((sum, s) => sum + s[k], 0) / samples.length;
    return Math.sqrt(samples.reduce((sum, s) => sum + (s[k] - mean) ** 2, 0) / samples.length);
  };
  if (samples.length > 2000) samples = samples.filter((_, i) => i % Math.ceil(samples.length / 2000) === 0);
  const factor = samples.length ** (-1 / 6);
  const [hx, hy] = [0, 1].map(k => Math.max(0.04, factor * deviation(k) * 0.8));
  const cells = [];
  for (let j = 0; j < GRID; j++) {
    for (let i = 0; i < GRID; i++) {
      const [x, y] = [(i + 0.5) / GRID, (j + 0.5) / GRID];
      let [weight, sum] = [0, 0];
      for (const [sx, sy, value] of samples) {
        const w = Math.exp(-0.5 * (((sx - x) / hx) ** 2 + ((sy - y) / hy) ** 2));
        weight += w;
        sum += w * value;
      }
      cells.push([weight > 1e-9 ? sum / weight : 0, weight]);
    }
  }
  return cells;
}

function paintSurface(it, cells) {
  const small = el("canvas", { width: GRID, height: GRID });
  const context = small.getContext("2d");
  if (!cells.length) return;
  cells.forEach(([value, weight], k) => {
    // In steps, as a map's contours are; faint where few trials are near.
    context.fillStyle = rampColour(Math.round(value * 9) / 9, Math.min(0.62, weight * 0.6));
    context.fillRect(k % GRID, GRID - 1 - Math.floor(k / GRID), 1, 1);
  });
  it.context.imageSmoothingEnabled = true;
  it.context.imageSmoothingQuality = "high";
  it.context.drawImage(small, it.left, it.top, it.innerWidth, it.innerHeight);
}
