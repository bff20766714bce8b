// The metric over one parameter, and over two: points as they were tried, and a smoothed surface between them.

const GRID = 44;

addPanel({
  id: "effects",
  nav: "Effects",
  parts: [
    makeHeading("The strongest parameters", null, el("div", { class: "tools", id: "axes" })),
    el("div", { class: "triple" }, ["first", "second", "contour"].map(id => el("div", { class: "chart", id }))),
    el("p", { class: "note", id: "contour-note" }),
  ],
  draw: drawEffects,
});

function drawEffects() {
  const usable = data.parameters.map(makeParameterAxis).filter(axis => new Set(data.trials.map(axis.at).filter(at => at !== null)).size > 1);
  const valued = data.trials.filter(trial => valueOf(trial) !== null);
  if (usable.length < 1 || valued.length < 2) return false;
  const weights = new Map((data.analysis?.metrics[0]?.rows ?? []).map(row => [row.name, row.importance[0] ?? Math.abs(row.rank?.[0] ?? 0)]));
  const ordered = [...usable].sort((a, b) => (weights.get(b.name) ?? 0) - (weights.get(a.name) ?? 0));
  let [one, two] = [ordered[0], ordered[1] ?? null];
  const choose = (current, set) =>
    el("select", { "aria-label": "Parameter", onchange: event => (set(ordered[event.target.selectedIndex]), redrawAll("axes")) }, ordered.map(axis => el("option", { selected: axis === current }, axis.name)));
  $("axes").replaceChildren(el("span", {}, "Show"), choose(one, axis => (one = axis)), two ? choose(two, axis => (two = axis)) : "");

  drawSlice($("first"), valued, () => one);
  $("second").hidden = $("contour").hidden = !two;
  if (two) {
    drawSlice($("second"), valued, () => two);
    drawContour($("contour"), valued, () => [one, two]);
  }
  $("contour-note").textContent = two ? `The surface is the trials' values, smoothed (Nadaraya–Watson), where trials are near. Its colours are those of the ranks above; ◯ the best trial.` : "";
}

function drawSlice(host, valued, axisNow) {
  const y = makeNumberScale(...addPadding(findRange(valued.map(valueOf))), false, false);
  const points = [];
  const it = makeChart(host, { height: 300, left: 56, top: 26, bottom: 38, label: "The metric over one parameter" }, () => {
    const axis = axisNow();
    drawAxes(it, inset(axis), y, { xName: axis.label, yName: metricName() });
    points.length = 0;
    const count = axis.kind === "list" ? axis.ticks().length : 0;
    for (const trial of valued) {
      const at = axis.at(trial);
      if (at === null) continue;
      // Listed values: side by side, by number, so that equal ones do not hide each other.
      const aside = count ? ((((trial.n * 0.618034) % 1) - 0.5) * 0.4) / Math.max(count, 2) : 0;
      points.push({ trial, x: it.x(squeeze(at) + aside), y: it.y(Math.min(Math.max(y.place(valueOf(trial)), 0), 1)) });
    }
    for (const { trial, x, y: py } of points) {
      it.context.globalAlpha = isInRanges(trial) ? 0.9 : 0.1;
      drawMark(it.context, trial.state, x, py, trialColour(trial), valued.length > 400 ? 0.7 : 1, readColour("soft"));
    }
    it.context.globalAlpha = 1;
  });
  addPoints(it, points);
}

// A little room at both ends, for marks and for a list's first and last value.
const squeeze = at => 0.08 + 0.84 * at;
const inset = axis => ({ ...axis, ticks: count => axis.ticks(count).map(([at, text]) => [squeeze(at), text]) });

function drawContour(host, valued, axesNow) {
  const points = [];
  const it = makeChart(host, { height: 300, left: 62, top: 26, bottom: 38, label: "The metric over two parameters" }, () => {
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
