// A chart: a canvas for the many marks, under an SVG for the axes and the highlighted trials. It is redrawn if its width
// changes.

const observers = []; // of all charts; disconnected before the charts are made again

function makeChart(host, { height, left = 52, right = 14, top = 12, bottom = 34, width: fixed, label, under = false }, draw) {
  const canvas = el("canvas", { "aria-hidden": "true" });
  const layer = svg("svg", { role: "img", "aria-label": label });
  const plot = el("div", { class: "plot" }, canvas, layer);
  host.replaceChildren(plot);
  const it = { plot, canvas, layer, left, right, top, bottom, width: 0, height, context: canvas.getContext("2d"), lit: svg("g") };

  it.draw = () => {
    const wanted = fixed ? Math.max(fixed, host.clientWidth) : host.clientWidth;
    if (!wanted) return;
    const tall = typeof height === "function" ? height(wanted) : height;
    Object.assign(it, { width: wanted, height: tall, innerWidth: wanted - left - right, innerHeight: tall - top - bottom });
    plot.style.width = fixed ? `${wanted}px` : "";
    plot.style.height = `${tall}px`;
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    canvas.width = Math.round(wanted * ratio);
    canvas.height = Math.round(tall * ratio);
    canvas.style.width = `${wanted}px`;
    canvas.style.height = `${tall}px`;
    it.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    it.context.clearRect(0, 0, wanted, tall);
    layer.replaceChildren();
    it.lit = svg("g", { class: "lit", "pointer-events": "none" });
    draw(it);
    if (under) layer.prepend(it.lit); // the labels stay readable
    else layer.append(it.lit);
    it.light?.();
  };
  it.x = at => it.left + at * it.innerWidth;
  it.y = at => it.top + (1 - at) * it.innerHeight;

  let seen = 0;
  const observer = new ResizeObserver(() => {
    if (host.clientWidth === seen) return;
    seen = host.clientWidth;
    it.draw();
  });
  observer.observe(host);
  observers.push(observer);
  redraw.push(what => (what === "hover" ? it.light?.() : it.draw()));
  return it;
}

/** Draws rules onto the canvas, so that later marks cover them, and names and numbers into the SVG above it. */
function drawAxes(it, x, y, { xName, yName, rules = true } = {}) {
  const group = svg("g");
  for (const [at, text] of y.ticks(Math.max(2, Math.floor(it.innerHeight / 40)))) {
    if (at < -0.001 || at > 1.001) continue;
    if (rules) drawRule(it, it.y(at));
    group.append(makeLabel(text, 9, { x: it.left - 8, y: it.y(at) + 4, "text-anchor": "end" }));
  }
  const room = Math.max(2, Math.floor(it.innerWidth / 70));
  for (const [at, text] of x.ticks(room)) {
    if (at < -0.001 || at > 1.001) continue;
    group.append(makeLabel(text, Math.max(3, Math.min(16, Math.floor(it.innerWidth / x.ticks(room).length / 7))), { x: it.x(at), y: it.height - it.bottom + 17, "text-anchor": at > 0.97 ? "end" : at < 0.03 ? "start" : "middle" }));
  }
  group.append(svg("line", { class: "axis", x1: it.left, x2: it.width - it.right, y1: it.y(0), y2: it.y(0) }));
  const most = Math.floor((it.width - it.left) / 7.5);
  if (xName) group.append(makeLabel(xName, most, { class: "name", x: it.width - it.right, y: it.height - 2, "text-anchor": "end" }));
  if (yName) group.append(makeLabel(yName, most, { class: "name", x: it.left, y: it.top - 8 }));
  it.layer.append(group);
}

function drawRule(it, y) {
  it.context.fillStyle = readColour("grid");
  it.context.fillRect(it.left, Math.round(y), it.innerWidth, 1);
}

/** A text of at most so many characters; a shortened one shows the whole text when the pointer rests on it. */
function makeLabel(text, most, attributes, whole = text) {
  const label = svg("text", attributes, shorten(text, most));
  if (text.length > most || whole !== text) label.append(svg("title", {}, whole));
  return label;
}

/** As many characters of a label as fit into a width in pixels. */
function countFitting(it, text, width, bold = false) {
  it.context.font = `${bold ? "600 " : ""}12px ${getComputedStyle(document.body).fontFamily}`;
  let most = text.length;
  while (most > 3 && it.context.measureText(shorten(text, most)).width > width) most -= 1;
  return most;
}

const shorten = (text, most) => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);

function drawMark(context, state, x, y, fill, size = 1, outline = null) {
  context.save();
  context.translate(x, y);
  context.scale(size, size);
  context.fillStyle = fill;
  context.fill(PATHS[state] ?? PATHS.queued);
  if (outline) {
    context.lineWidth = 1 / size;
    context.strokeStyle = outline;
    context.stroke(PATHS[state] ?? PATHS.queued);
  }
  context.restore();
}

/** A ring that highlights a trial's point on any background. */
const makeRing = (x, y) => svg("g", {}, svg("circle", { cx: x, cy: y, r: 7, fill: "none", stroke: "var(--card)", "stroke-width": 4 }), svg("circle", { cx: x, cy: y, r: 7, fill: "none", stroke: "var(--accent)", "stroke-width": 2.5 }));

const makeLine = (points, width = 2.5) => {
  const path = `M${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}`;
  return svg("g", { fill: "none", "stroke-linejoin": "round" }, svg("path", { d: path, stroke: "var(--card)", "stroke-width": width + 2.5 }), svg("path", { d: path, stroke: "var(--accent)", "stroke-width": width }));
};

/** Makes a chart react to hovering and clicking; `nearest(x, y)` returns a trial, or null. */
function addPointing(it, nearest) {
  const place = event => {
    const box = it.plot.getBoundingClientRect();
    return nearest(event.clientX - box.left, event.clientY - box.top);
  };
  it.plot.addEventListener("pointermove", event => {
    if (event.buttons && event.pointerType === "mouse") return;
    const trial = place(event);
    setHover(trial?.n ?? null);
    showTip(trial, event);
  });
  it.plot.addEventListener("pointerleave", () => {
    setHover(null);
    showTip(null);
  });
  it.plot.addEventListener("click", event => {
    const trial = place(event);
    if (trial) togglePin(trial.n);
  });
}

function findNearestPoint(points, x, y, reach = 18) {
  let best = null;
  let least = reach * reach;
  for (const point of points) {
    const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (distance < least) [best, least] = [point.trial, distance];
  }
  return best;
}

/** Makes a chart highlight the points of trials, `points` being filled whenever it is drawn, and react to the mouse. */
function addPoints(it, points) {
  it.light = () => it.lit.replaceChildren(...listHighlighted().flatMap(n => points.filter(p => p.trial.n === n).map(p => makeRing(p.x, p.y))));
  addPointing(it, (x, y) => findNearestPoint(points, x, y));
}

function showTip(trial, event, extra) {
  const box = $("tip");
  box.hidden = !trial;
  if (!trial) return;
  const rows = data.parameters.map((parameter, i) => [parameter.label, trial.params[i]]).filter(([, value]) => value !== null);
  const values = data.metrics.length ? data.metrics.map(m => [m.name, trial.metrics[m.name]]) : [[valueName(), trial.value]];
  box.replaceChildren(
    el("b", {}, `Trial ${trial.n} · ${trial.state}${extra ? ` · ${extra}` : ""}`),
    el("dl", {}, [...values, ...rows.slice(0, 12)].map(([name, value]) => [el("dt", {}, name), el("dd", {}, format(value))])),
  );
  const { clientX: x, clientY: y } = event;
  const { offsetWidth: width, offsetHeight: height } = box;
  box.style.left = `${Math.max(4, x + 16 + width > innerWidth ? x - 16 - width : x + 16)}px`;
  box.style.top = `${Math.max(4, Math.min(y + 16, innerHeight - height - 8))}px`;
}
