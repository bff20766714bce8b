// When each agent ran which trial: a row per agent, a bar per attempt. The gaps between the bars are idle time.

addPanel({
  id: "time",
  parts: [el("div", { class: "heading" }, el("h2", {}, "Agents over time"), el("p", { class: "hint", id: "idle" })), el("div", { class: "chart", id: "timeline" })],
  draw: drawTimeline,
});

function drawTimeline() {
  const attempts = data.attempts.map(([agent, n, attempt, start, end, state, reason]) => ({ agent, n, attempt, start, end, state, reason, trial: trials.get(n) })).filter(a => a.trial);
  if (!attempts.length) return false;
  const agents = [...new Set(attempts.map(a => a.agent))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const now = Math.max(...attempts.map(a => a.end ?? a.start), data.running ? data.now ?? 0 : 0);
  const total = Math.max(now, 0.001);
  const unit = total < 120 ? [1, "s"] : total < 7200 ? [60, "min"] : total < 172800 ? [3600, "h"] : [86400, "days"];
  const x = makeNumberScale(0, total / unit[0], false, false);
  const rowHeight = agents.length > 40 ? 12 : agents.length > 15 ? 18 : 26;
  const lanes = agents.map(agent => buildLane(attempts.filter(a => a.agent === agent), now));
  const busy = lanes.reduce((sum, l) => sum + l.busy, 0);
  const there = lanes.reduce((sum, l) => sum + l.there, 0);
  $("idle").textContent = `${pluralize(agents.length, "agent")}, ${formatDuration(total)}; busy ${formatPercent(there ? busy / there : 0)} of the time between each one's first and last trial${attempts.some(a => a.attempt > 1) ? "; striped: a later part of a trial" : ""}`;
  const boxes = [];
  const it = makeChart($("timeline"), { height: agents.length * rowHeight + 56, left: 74, right: 58, top: 8, bottom: 40, label: "Timeline of agents" }, () => {
    boxes.length = 0;
    const context = it.context;
    agents.forEach((agent, row) => {
      const y = it.top + row * rowHeight;
      drawRule(it, y + rowHeight / 2);
      if (rowHeight > 12 || row % 3 === 0) {
        it.layer.append(svg("text", { x: it.left - 8, y: y + rowHeight / 2 + 4, "text-anchor": "end" }, shorten(/^\d+$/.test(agent) ? `agent ${agent}` : agent || "–", 11)));
        it.layer.append(svg("text", { x: it.width - it.right + 8, y: y + rowHeight / 2 + 4 }, `${formatPercent(lanes[row].there ? lanes[row].busy / lanes[row].there : 1)}`));
      }
      for (const a of lanes[row].attempts) {
        const left = it.x(x.place(a.start / unit[0]));
        const width = Math.max(1.5, it.x(x.place((a.end ?? now) / unit[0])) - left - (lanes[row].attempts.length < 200 ? 1 : 0));
        const box = { trial: a.trial, attempt: a.attempt, x: left, y: y + 3, width, height: rowHeight - 6 };
        boxes.push(box);
        context.globalAlpha = isInRanges(a.trial) ? 1 : 0.15;
        context.fillStyle = readColour(a.state) || readColour("queued");
        context.fillRect(box.x, box.y, box.width, box.height);
        if (a.attempt > 1) drawStripes(context, box);
        if (width > 26 && rowHeight > 16) {
          context.fillStyle = isDark() ? "#10151b" : "#ffffff";
          context.font = "11px system-ui, sans-serif";
          context.fillText(String(a.n), box.x + 5, box.y + box.height / 2 + 4);
        }
      }
    });
    context.globalAlpha = 1;
    for (const [at, text] of x.ticks(Math.max(2, Math.floor(it.innerWidth / 90)))) if (at <= 0.98) it.layer.append(svg("text", { x: it.x(at), y: it.height - 20, "text-anchor": "middle" }, text));
    it.layer.append(svg("text", { class: "name", x: it.width - it.right, y: it.height - 4, "text-anchor": "end" }, `${unit[1]} since the first start`), svg("text", { class: "name", x: it.width - it.right + 8, y: it.height - 20 }, "busy"));
  });
  it.light = () => it.lit.replaceChildren(...boxes.filter(box => listHighlighted().includes(box.trial.n)).map(box => svg("rect", { x: box.x - 1.5, y: box.y - 1.5, width: box.width + 3, height: box.height + 3, rx: 2, fill: "none", stroke: "var(--ink)", "stroke-width": 2 })));
  addPointing(it, (px, py) => boxes.find(box => px >= box.x - 1 && px <= box.x + box.width + 1 && py >= box.y - 3 && py <= box.y + box.height + 3)?.trial ?? null);
}

function buildLane(attempts, now) {
  const ordered = [...attempts].sort((a, b) => a.start - b.start);
  let [busy, until] = [0, -Infinity];
  for (const a of ordered) {
    const end = a.end ?? now;
    busy += Math.max(0, end - Math.max(a.start, until));
    until = Math.max(until, end);
  }
  return { attempts: ordered, busy, there: until - ordered[0].start };
}

function drawStripes(context, { x, y, width, height }) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = readColour("card");
  context.lineWidth = 1.5;
  for (let at = x - height; at < x + width; at += 6) {
    context.beginPath();
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
    context.stroke();
  }
  context.restore();
}
