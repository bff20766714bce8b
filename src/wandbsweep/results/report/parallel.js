// Parallel coordinates: a line per trial over all parameters to its value. Dragging along an axis keeps a range; its name
// is dragged to move it.

const parallelView = { order: [], hidden: new Set() }; // names of axes

addPanel({
  id: "space",
  parts: [
    makeHeading(
      "Parallel coordinates",
      "Drag along an axis to keep a range; the whole page follows. Drag its name to move it.",
      el("span", { id: "kept", class: "kept", role: "status" }),
      el("button", { type: "button", id: "clear", hidden: true }, "Clear ranges"),
    ),
    makeScroller("parallel"),
    el("div", { class: "legend", id: "ramp" }),
  ],
  draw: drawParallel,
});

function listParallelAxes() {
  const outcomes = data.metrics.length ? data.metrics.map(m => makeValueAxis(m.name, trial => trial.metrics[m.name] ?? null, m.goal)) : data.trials.some(trial => trial.value !== null) ? [makeValueAxis(valueName(), valueOf, data.goal)] : [];
  const axes = [...data.parameters.map(makeParameterAxis), ...outcomes];
  const place = axis => (parallelView.order.includes(axis.name) ? parallelView.order.indexOf(axis.name) : axes.indexOf(axis));
  return axes.sort((a, b) => place(a) - place(b));
}

function drawParallel() {
  const known = listParallelAxes();
  const all = known.filter(axis => !parallelView.hidden.has(axis.name));
  if (!data.trials.length || known.length < 2) return false;
  selection.ranges = new Map([...selection.ranges].map(([old, range]) => [all.find(axis => axis.name === old.name), range]).filter(([axis]) => axis));

  const it = makeChart($("parallel"), { height: 400, left: 78, right: 84, top: 46, bottom: 62, width: 100 * (all.length - 1) + 162, under: true, label: "Parallel coordinates: one line per trial" }, draw);
  const across = i => it.x(all.length > 1 ? i / (all.length - 1) : 0.5);
  const isWithout = trial => ["failed", "crashed"].includes(trial.state) && !tone.has(trial.n);
  let lines = [];

  function place(trial, axis, i) {
    const at = axis.at(trial);
    if (at !== null) return [across(i), it.y(at)];
    return axis.isOutcome && isWithout(trial) ? [across(i), it.y(0) + 16] : null; // below the axis: it has no value
  }

  function draw() {
    const order = [...byRank].reverse().filter(trial => trial.params.some(value => value !== null)); // the best on top
    lines = order.map(trial => ({ trial, kept: isInRanges(trial), points: all.map((axis, i) => place(trial, axis, i)).filter(point => point) }));
    const context = it.context;
    const some = selection.ranges.size + selection.hiddenStates.size > 0;
    context.lineJoin = "round";
    const dense = Math.max(0.35, Math.min(1, 120 / lines.length + 0.3));
    for (const { trial, points, kept } of [...lines.filter(l => !l.kept), ...lines.filter(l => l.kept)]) {
      if (points.length < 2) continue;
      const good = tone.get(trial.n) ?? 0;
      context.strokeStyle = !kept ? readColour("grid") : tone.has(trial.n) ? trialColour(trial, dense * (0.4 + 0.6 * good)) : readColour(trial.state);
      context.lineWidth = kept ? 1 + good * 0.9 : 1;
      context.globalAlpha = kept ? (tone.has(trial.n) ? 1 : 0.75) : 0.6;
      context.setLineDash(tone.has(trial.n) ? [] : [3, 4]);
      context.beginPath();
      points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }
    context.setLineDash([]);
    all.forEach((axis, i) => axis.isOutcome && drawEnds(axis, i));
    context.globalAlpha = 1;
    all.forEach(drawAxis);
    const kept = data.trials.filter(isInRanges).length;
    $("kept").textContent = some ? `${kept} of ${pluralize(data.trials.length, "trial")}` : "";
    $("clear").hidden = !some;
  }

  /** Marks at the axis of a value, which tell a stopped or failed trial from a finished one. */
  function drawEnds(axis, i) {
    for (const { trial, kept } of lines) {
      const point = place(trial, axis, i);
      if (!point || (trial.state === "finished" && !axis.out(trial))) continue;
      it.context.globalAlpha = kept ? 1 : 0.15;
      drawMark(it.context, axis.out(trial) ?? trial.state, ...point, readColour(trial.state), 0.85, readColour("card"));
    }
  }

  function drawAxis(axis, i) {
    const x = across(i);
    const last = i === all.length - 1;
    const group = svg("g", {}, svg("line", { class: "axis", x1: x, x2: x, y1: it.top, y2: it.height - it.bottom }));
    for (const [at, text] of axis.ticks(5)) {
      if (at < -0.001 || at > 1.001) continue;
      const most = countFitting(it, text, i === 0 ? it.left - 9 : last ? it.right - 9 : it.innerWidth / (all.length - 1) - 12);
      const wide = it.context.measureText(shorten(text, most)).width + 4; // what lies behind a label is covered, so that no line strikes it through
      it.context.fillStyle = readColour("card");
      it.context.globalAlpha = 0.88;
      it.context.fillRect(last ? x + 5 : x - 6 - wide, it.y(at) - 8, wide, 16);
      it.context.globalAlpha = 1;
      group.append(svg("line", { class: "axis", x1: x - 3, x2: x + 3, y1: it.y(at), y2: it.y(at) }), makeLabel(text, most, { class: "tick", x: x + (last ? 8 : -7), y: it.y(at) + 4, "text-anchor": last ? "start" : "end" }));
    }
    if (axis.isOutcome && lines.some(l => isWithout(l.trial))) group.append(svg("text", { x: x + (last ? 8 : -7), y: it.y(0) + 20, "text-anchor": last ? "start" : "end" }, "no value"));
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
    handle.addEventListener("click", event => event.stopPropagation());
    const name = makeLabel(axis.label, countFitting(it, axis.label, (1.5 * it.innerWidth) / Math.max(1, all.length - 1) - 8, true), { class: "name grip", x, y: i % 2 ? 14 : 30, "text-anchor": i === 0 ? "start" : last ? "end" : "middle", dx: i === 0 ? -it.left + 4 : last ? it.right - 4 : 0 }, axis.when ? `${axis.name}, if ${axis.when}` : axis.name);
    name.addEventListener("pointerdown", event => startMove(event, axis, i, name, group));
    group.append(brush, handle, name, ...makeAxisTools(axis, x));
    it.layer.append(group);
  }

  function makeAxisTools(axis, x) {
    const tools = [["hide", "Hide this axis", () => parallelView.hidden.add(axis.name)]];
    if (axis.kind !== "list" && axis.low > 0) tools.unshift([axis.kind === "log" ? "linear" : "log", "Change its scale", () => (switched.has(axis.name) ? switched.delete(axis.name) : switched.add(axis.name))]);
    return tools.map(([text, title, act], k) => {
      const tool = svg("text", { class: "tool", role: "button", tabindex: 0, "data-tool": `${text} ${axis.name}`, x, y: it.height - 20 + 15 * k, "text-anchor": "middle" }, text, svg("title", {}, title));
      const run = event => (event.stopPropagation(), act(), rebuild());
      tool.addEventListener("click", run);
      tool.addEventListener("keydown", event => event.key === "Enter" && run(event));
      return tool;
    });
  }

  function follow(grip, event, move, end) {
    grip.setPointerCapture(event.pointerId);
    event.preventDefault();
    event.stopPropagation();
    const finish = e => {
      grip.removeEventListener("pointermove", move);
      for (const kind of ["pointerup", "pointercancel"]) grip.removeEventListener(kind, finish);
      end(e);
    };
    grip.addEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"]) grip.addEventListener(kind, finish);
  }

  function startMove(event, axis, i, name, group) {
    const start = event.clientX;
    follow(
      name,
      event,
      e => group.setAttribute("transform", `translate(${e.clientX - start},0)`),
      e => {
        const to = Math.min(all.length - 1, Math.max(0, i + Math.round(((e.clientX - start) / it.innerWidth) * (all.length - 1))));
        if (to === i) return group.removeAttribute("transform");
        const names = all.map(one => one.name).filter(one => one !== axis.name);
        names.splice(to, 0, axis.name);
        parallelView.order = [...names, ...parallelView.hidden];
        rebuild();
      },
    );
  }

  function startBrush(event, axis, handle, show) {
    const at = e => Math.min(1, Math.max(0, 1 - (e.clientY - it.plot.getBoundingClientRect().top - it.top) / it.innerHeight));
    const start = at(event);
    let range = null;
    follow(
      handle,
      event,
      e => {
        const now = at(e);
        if (range === null && Math.abs(now - start) * it.innerHeight < 4) return;
        range = [Math.min(start, now), Math.max(start, now)];
        show(range);
      },
      () => {
        if (range) selection.ranges.set(axis, axis.kind === "list" ? [range[0] - 0.02, range[1] + 0.02] : [range[0] - 1e-9, range[1] + 1e-9]);
        else selection.ranges.delete(axis);
        redrawAll("ranges");
      },
    );
  }

  it.light = () => {
    it.lit.replaceChildren(...listHighlighted().flatMap(n => lines.filter(l => l.trial.n === n && l.points.length > 1).map(l => makeLine(l.points, 3))));
  };
  addPointing(it, (x, y) => findNearestLine(new Map(lines.map(l => [l.trial.n, l.points])), x, y, 12));

  $("clear").onclick = () => {
    selection.ranges.clear();
    selection.hiddenStates.clear();
    drawParallelLegend(known, all);
    redrawAll("ranges");
  };
  drawParallelLegend(known, all);
}

function drawParallelLegend(known, all) {
  const there = STATES.filter(state => data.counts[state] && data.trials.some(trial => trial.state === state && trial.params.some(value => value !== null)));
  const toggle = state => {
    if (!selection.hiddenStates.delete(state)) selection.hiddenStates.add(state);
    drawParallelLegend(known, all);
    redrawAll("ranges");
  };
  const states = there.map(state => el("button", { type: "button", class: "key", "data-state": state, "aria-pressed": String(!selection.hiddenStates.has(state)), title: "Show or hide these trials", onclick: () => toggle(state) }, makeSymbol(state), `${data.counts[state]} ${state}`));
  const hidden = known.filter(axis => !all.includes(axis)).map(axis => el("button", { type: "button", title: `Show ${axis.name} again`, onclick: () => (parallelView.hidden.delete(axis.name), rebuild()) }, `+ ${axis.label}`));
  $("ramp").replaceChildren(...(data.ranked && levels.length ? [makeColourBar()] : []), ...states, ...hidden);
}
