// Importance and correlation of each parameter, with intervals that say how far chance may have moved them.

addPanel({
  id: "importance",
  parts: [makeHeading("What matters", null, el("div", { id: "which" })), el("div", { id: "bars" })],
  draw: drawImportance,
});

function drawImportance() {
  const found = data.analysis.metrics.filter(m => m.rows.some(row => row.importance[0] !== null || row.rank)) ?? [];
  if (!found.length) return false;
  W = innerWidth < 600 ? 190 : 430;
  const show = metric => {
    const own = found.find(m => m.metric === metric) ?? found[0];
    const how = own.method === "ped-anova" ? "how far the best trials' values differ from all trials' (PED-ANOVA)" : "share of the metric's variance that a parameter explains by itself (fANOVA)";
    const labels = new Map(data.parameters.map(parameter => [parameter.name, parameter.label]));
    $("bars").replaceChildren(
      own.warning ? el("p", { class: "warning" }, own.warning) : "",
      el(
        "div",
        { class: "effects" },
        el("h3", { class: "heads" }),
        el("h3", {}, "Importance"),
        el("h3", {}, `Correlation with ${own.metric}`),
        own.rows.map(row => [el("div", { class: "label", title: row.name }, labels.get(row.name) ?? row.name), makeShareBar(row), makeAssociationBar(row), row.differ ? el("p", { class: "note differ" }, `By value (○) ${formatSigned(row.linear[0])}, by rank ${formatSigned(row.rank[0])}: ${row.differ}.`) : ""]),
      ),
      el("p", { class: "note" }, `Importance: ${how}, with 90 % of resampled sweeps inside the thin line. Correlation: filled bar by rank (Spearman), thin line its 95 % interval, ○ by value (Pearson), positive if ${own.metric} rises with the parameter; `, "values without an order have a correlation ratio, which has no sign.", own.notes.length ? ` ${own.notes.join("; ")}.` : ""),
    );
  };
  $("which").replaceChildren(found.length > 1 ? el("select", { "aria-label": "Metric", onchange: event => show(event.target.value) }, found.map(m => el("option", {}, m.metric))) : "");
  show(found[0].metric);
}

const formatSigned = value => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

let W = 430; // of a bar and its number, in the units of its picture

function makeBarFrame(label, ...parts) {
  return svg("svg", { viewBox: `0 0 ${W} 34`, preserveAspectRatio: "xMinYMid meet", role: "img", "aria-label": label }, parts);
}

function makeShareBar(row) {
  const [value, low, high] = row.importance;
  if (value === null) return makeBarFrame("unknown", svg("text", { class: "soft", x: 0, y: 21 }, "too few trials"));
  const to = at => at * (W - 52);
  return makeBarFrame(
    `${row.name}: ${formatPercent(value)}`,
    svg("rect", { x: 0, y: 9, width: W - 52, height: 16, rx: 3, fill: "var(--grid)" }),
    svg("rect", { x: 0, y: 9, width: Math.max(1.5, to(value)), height: 16, rx: 3, fill: "var(--bar)" }),
    makeWhisker(to(low ?? value), to(high ?? value)),
    svg("text", { x: W - 44, y: 21 }, formatPercent(value)),
  );
}

function makeAssociationBar(row) {
  if (!row.rank || row.rank[0] === null) return makeBarFrame("unknown", svg("text", { class: "soft", x: 0, y: 21 }, "–"));
  const [value, low, high] = row.rank;
  const wide = W - 52;
  const ratio = row.kind === "ratio";
  const to = at => (ratio ? wide / 2 + (at * wide) / 2 : ((at + 1) * wide) / 2);
  const zero = wide / 2;
  const linear = row.linear[0];
  return makeBarFrame(
    `${row.name}: ${ratio ? "correlation ratio" : "rank correlation"} ${value.toFixed(2)}`,
    svg("rect", { x: 0, y: 9, width: wide, height: 16, rx: 3, fill: "var(--grid)" }),
    svg("rect", { x: Math.min(zero, to(value)), y: 9, width: Math.max(1.5, Math.abs(to(value) - zero)), height: 16, fill: ratio ? "var(--faint)" : value < 0 ? "var(--negative)" : "var(--bar)" }),
    svg("line", { x1: zero, x2: zero, y1: 5, y2: 29, stroke: "var(--faint)" }),
    makeWhisker(to(low ?? value), to(high ?? value)),
    linear === null ? null : svg("circle", { cx: to(linear), cy: 17, r: 3.5, fill: "var(--card)", stroke: "var(--ink)", "stroke-width": 1.3 }),
    svg("text", { x: W - 44, y: 21 }, `${ratio ? "η " : value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`),
  );
}

const makeWhisker = (low, high) => svg("path", { d: `M${low},17H${high}M${low},13v8M${high},13v8`, stroke: "var(--ink)", "stroke-width": 1.3, fill: "none" });
