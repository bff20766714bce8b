// Parallel coordinates: a line per trial over all parameters to its value. Dragging along an axis keeps a range.

addPanel({
  id: "space",
  nav: "Space",
  parts: [
    makeHeading(
      "Parallel coordinates",
      "Drag along an axis to keep a range; the whole page follows. Click an axis to remove its range.",
      el("span", { id: "kept", class: "kept", role: "status" }),
      el("button", { type: "button", id: "clear", hidden: true }, "Clear ranges"),
    ),
    el("div", { class: "scroll", id: "parallel" }),
    el("div", { class: "legend", id: "ramp" }),
  ],
  draw: drawParallel,
});

function drawParallel() {
  const host = $("parallel");
  const columns = data.parameters.map(makeParameterAxis);
  const outcomes = data.metrics.length ? data.metrics.map(m => makeValueAxis(m.name, trial => trial.metrics[m.name] ?? null, m.goal)) : data.trials.some(trial => trial.value !== null) ? [makeValueAxis(metricName(), valueOf, data.goal)] : [];
  const all = [...columns, ...outcomes];
  if (!data.trials.length || all.length < 2) return false;
  selection.ranges = new Map([...selection.ranges].map(([old, range]) => [all.find(axis => axis.name === old.name), range]).filter(([axis]) => axis));

  const it = makeChart(host, { height: 360, left: 62, right: 76, top: 44, bottom: 22, width: 104 * (all.length - 1) + 138, label: "Parallel coordinates: one line per trial" }, draw);
  const across = i => it.x(all.length > 1 ? i / (all.length - 1) : 0.5);
  let lines = [];

  function draw() {
    const order = [...byRank].reverse().filter(trial => trial.params.some(value => value !== null)); // the best on top
    lines = order.map(trial => ({ trial, kept: isInRanges(trial), points: all.map((axis, i) => [across(i), axis.at(trial)]).filter(([, at]) => at !== null).map(([x, at]) => [x, it.y(at)]) }));
    const context = it.context;
    const some = selection.ranges.size > 0;
    context.lineJoin = "round";
    const dense = Math.max(0.35, Math.min(1, 120 / lines.length + 0.3));
    for (const { trial, points, kept } of [...lines.filter(l => !l.kept), ...lines.filter(l => l.kept)]) {
      if (points.length < 2) continue;
      const good = tone.get(trial.n) ?? 0;
      context.strokeStyle = kept ? trialColour(trial, tone.has(trial.n) ? dense * (0.35 + 0.65 * good) : 0.25) : readColour("grid");
      context.lineWidth = kept ? 1 + good * 0.9 : 1;
      context.globalAlpha = kept || !some ? 1 : 0.6;
      context.setLineDash(tone.has(trial.n) ? [] : [3, 4]);
      context.beginPath();
      points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
    all.forEach(drawAxis);
    const kept = data.trials.filter(isInRanges).length;
    $("kept").textContent = some ? `${kept} of ${pluralize(data.trials.length, "trial")}` : "";
    $("clear").hidden = !some;
  }

  function drawAxis(axis, i) {
    const x = across(i);
    const last = i === all.length - 1;
    const group = svg("g", {}, svg("line", { class: "axis", x1: x, x2: x, y1: it.top, y2: it.height - it.bottom }));
    const name = svg("text", { class: "name", x, y: i % 2 ? 14 : 30, "text-anchor": i === 0 ? "start" : last ? "end" : "middle", dx: i === 0 ? -it.left + 4 : last ? it.right - 4 : 0 }, shorten(axis.label, 26));
    name.append(svg("title", {}, axis.when ? `${axis.name}, if ${axis.when}` : axis.name));
    group.append(name);
    for (const [at, text] of axis.ticks(5)) {
      if (at < -0.001 || at > 1.001) continue;
      const label = svg("text", { x: x + (last ? 8 : -7), y: it.y(at) + 4, "text-anchor": last ? "start" : "end", "paint-order": "stroke", stroke: "var(--card)", "stroke-width": 3 }, shorten(text, i === 0 ? 8 : 10));
      group.append(svg("line", { class: "axis", x1: x - 3, x2: x + 3, y1: it.y(at), y2: it.y(at) }), label);
    }
    const range = selection.ranges.get(axis);
    const brush = svg("rect", { class: "brush", x: x - 9, width: 18, rx: 3, visibility: range ? "visible" : "hidden" });
    const show = ([low, high]) => {
      brush.setAttribute("y", it.y(high));
      brush.setAttribute("height", Math.max(2, it.y(low) - it.y(high)));
      brush.setAttribute("visibility", "visible");
    };
    if (range) show(range);
    const handle = svg("rect", { class: "handle", "data-axis": axis.name, x: x - 14, width: 28, y: it.top - 6, height: it.innerHeight + 12 });
    handle.addEventListener("pointerdown", event => startBrush(event, axis, handle, show));
    group.append(brush, handle);
    it.layer.append(group);
  }

  function startBrush(event, axis, handle, show) {
    const at = e => Math.min(1, Math.max(0, 1 - (e.clientY - it.plot.getBoundingClientRect().top - it.top) / it.innerHeight));
    const start = at(event);
    let range = null;
    handle.setPointerCapture(event.pointerId);
    event.preventDefault();
    const move = e => {
      const now = at(e);
      if (range === null && Math.abs(now - start) * it.innerHeight < 4) return;
      range = [Math.min(start, now), Math.max(start, now)];
      show(range);
    };
    const end = () => {
      handle.removeEventListener("pointermove", move);
      handle.removeEventListener("pointerup", end);
      handle.removeEventListener("pointercancel", end);
      if (range) selection.ranges.set(axis, axis.kind === "list" ? [range[0] - 0.02, range[1] + 0.02] : [range[0] - 1e-9, range[1] + 1e-9]);
      else selection.ranges.delete(axis);
      redrawAll("ranges");
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("pointerup", end);
    handle.addEventListener("pointercancel", end);
  }

  it.light = () => {
    it.lit.replaceChildren(...listHighlighted().flatMap(n => lines.filter(l => l.trial.n === n && l.points.length > 1).map(l => makeLine(l.points, 3))));
  };

  addPointing(it, (x, y) => {
    let best = null;
    let least = 12;
    for (const { trial, kept, points } of lines) {
      if (!kept) continue;
      for (let i = 1; i < points.length; i++) {
        const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
        if (x < x0 || x > x1) continue;
        const distance = Math.abs(y0 + ((y1 - y0) * (x - x0)) / (x1 - x0) - y);
        if (distance <= least) [best, least] = [trial, distance];
      }
    }
    return best;
  });

  $("clear").onclick = () => {
    selection.ranges.clear();
    redrawAll("ranges");
  };
  drawRampLegend();
}

function drawRampLegend() {
  $("ramp").replaceChildren();
  if (!data.ranked || !tone.size) return;
  const bar = el("span", { class: "gradient", "aria-hidden": "true" });
  const paint = () => (bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(t => rampColour(t)).join(",")})`);
  paint();
  redraw.push(what => what === "theme" && paint());
  const without = data.trials.some(trial => !tone.has(trial.n) && trial.params.some(value => value !== null));
  $("ramp").replaceChildren(el("span", {}, `${metricName()}, by rank: worst`), bar, el("span", {}, "best"), without ? el("span", {}, "· dashed: no value") : "");
}
