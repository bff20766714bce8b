// A chart: a canvas for the many marks, an SVG over it for axes and what is lit. Drawn anew when its width changes.

const observers = []; // of the charts there are, to be let go when all are made anew

function chart(host, { height, left = 52, right = 14, top = 12, bottom = 34, width: fixed, label }, draw) {
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
    it.lit = svg("g", { "pointer-events": "none" });
    draw(it);
    layer.append(it.lit);
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

/** Rules go onto the canvas, below the marks that are drawn after them; names and numbers above. */
function axes(it, x, y, { xName, yName, rules = true } = {}) {
  const group = svg("g");
  for (const [at, text] of y.ticks(Math.max(2, Math.floor(it.innerHeight / 48)))) {
    if (at < -0.001 || at > 1.001) continue;
    if (rules) rule(it, it.y(at));
    group.append(svg("text", { x: it.left - 8, y: it.y(at) + 4, "text-anchor": "end" }, cut(text, 9)));
  }
  const room = Math.max(2, Math.floor(it.innerWidth / 70));
  for (const [at, text] of x.ticks(room)) {
    if (at < -0.001 || at > 1.001) continue;
    group.append(svg("text", { x: it.x(at), y: it.height - it.bottom + 17, "text-anchor": at > 0.97 ? "end" : at < 0.03 ? "start" : "middle" }, cut(text, 12)));
  }
  group.append(svg("line", { class: "axis", x1: it.left, x2: it.width - it.right, y1: it.y(0), y2: it.y(0) }));
  if (xName) group.append(svg("text", { class: "name", x: it.width - it.right, y: it.height - 2, "text-anchor": "end" }, cut(xName, 40)));
  if (yName) group.append(svg("text", { class: "name", x: it.left, y: it.top - 8 }, cut(yName, 40)));
  it.layer.append(group);
}

function rule(it, y) {
  it.context.fillStyle = ink("grid");
  it.context.fillRect(it.left, Math.round(y), it.innerWidth, 1);
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function mark(context, state, x, y, fill, size = 1, outline = null) {
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

/** A trial's point, lit: a ring that is there on any paper. */
const ring = (x, y) => svg("g", {}, svg("circle", { cx: x, cy: y, r: 7, fill: "none", stroke: "var(--card)", "stroke-width": 4 }), svg("circle", { cx: x, cy: y, r: 7, fill: "none", stroke: "var(--accent)", "stroke-width": 2.5 }));

const line = (points, width = 2.5) => {
  const path = `M${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}`;
  return svg("g", { fill: "none", "stroke-linejoin": "round" }, svg("path", { d: path, stroke: "var(--card)", "stroke-width": width + 2.5 }), svg("path", { d: path, stroke: "var(--accent)", "stroke-width": width }));
};

/** Hover and click: `nearest(x, y)` gives a trial, or null. */
function pointing(it, nearest) {
  const place = event => {
    const box = it.plot.getBoundingClientRect();
    return nearest(event.clientX - box.left, event.clientY - box.top);
  };
  it.plot.addEventListener("pointermove", event => {
    if (event.buttons && event.pointerType === "mouse") return;
    const trial = place(event);
    hover(trial?.n ?? null);
    tip(trial, event);
  });
  it.plot.addEventListener("pointerleave", () => {
    hover(null);
    tip(null);
  });
  it.plot.addEventListener("click", event => {
    const trial = place(event);
    if (trial) pin(trial.n);
  });
}

function nearestPoint(points, x, y, reach = 18) {
  let best = null;
  let least = reach * reach;
  for (const point of points) {
    const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (distance < least) [best, least] = [point.trial, distance];
  }
  return best;
}

function tip(trial, event, extra) {
  const box = $("tip");
  box.hidden = !trial;
  if (!trial) return;
  const rows = data.parameters.map((parameter, i) => [parameter.label, trial.params[i]]).filter(([, value]) => value !== null);
  const values = data.metrics.length ? data.metrics.map(m => [m.name, trial.metrics[m.name]]) : [[metricName(), trial.value]];
  box.replaceChildren(
    el("b", {}, `Trial ${trial.n} · ${trial.state}${extra ? ` · ${extra}` : ""}`),
    el("dl", {}, [...values, ...rows.slice(0, 12)].map(([name, value]) => [el("dt", {}, name), el("dd", {}, format(value))])),
  );
  const { clientX: x, clientY: y } = event;
  const { offsetWidth: width, offsetHeight: height } = box;
  box.style.left = `${Math.max(4, x + 16 + width > innerWidth ? x - 16 - width : x + 16)}px`;
  box.style.top = `${Math.max(4, Math.min(y + 16, innerHeight - height - 8))}px`;
}
