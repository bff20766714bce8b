// The data, the user's selection, the panels, and functions that make elements. Text from the data becomes text nodes,
// never markup.

const SVG = "http://www.w3.org/2000/svg";
let data = JSON.parse(document.getElementById("data").textContent);
let trials = new Map();
let byRank = []; // trials, the best first
let tone = new Map(); // trial number -> 0 (worst) to 1 (best), for those with a value

let levels = []; // the distinct values of the trials with a tone, the worst first

const selection = { hover: null, pinned: null, ranges: new Map(), query: "", hiddenStates: new Set() };
const redraw = []; // called with what has changed: "hover", "ranges", "axes" or "theme"
const panels = [];

/**
 * Adds a panel to the page. Each panel's file calls it once; panels.py names the files, in the order of the page.
 *   id: the section's id.
 *   parts: its elements, made once; an element that a function needs later has an id (`$(id)`).
 *   draw: fills it from `data`, at first and whenever the data change. Returns false if there is nothing to show.
 *   half: whether it shares a row with the half next to it.
 *   card: whether it is framed.
 *   label: its name for screen readers, if it has no heading. The others are listed in the navigation by their headings.
 */
function addPanel({ id, parts = [], draw, half = false, card = true, label = null }) {
  const section = el("section", { id, class: card ? `card${half ? "" : " wide"}` : id, "aria-label": label }, parts);
  let row = $("panels");
  if (half) {
    if (!row.lastElementChild?.classList.contains("pair")) row.append(el("div", { class: "pair" }));
    row = row.lastElementChild;
  }
  row.append(section);
  panels.push({ section, draw, listed: !label });
}

const makeHeading = (title, hint, ...tools) =>
  el("div", { class: "heading" }, el("h2", {}, title), hint ? el("p", { class: "hint" }, hint) : null, tools.length ? el("div", { class: "tools" }, tools) : null);

function indexTrials() {
  trials = new Map(data.trials.map(trial => [trial.n, trial]));
  byRank = data.order.map(n => trials.get(n));
  const valued = byRank.filter(trial => computeGoodness(trial) !== null && !["failed", "crashed"].includes(trial.state));
  const goodness = [...new Set(valued.map(computeGoodness))].sort((a, b) => a - b);
  const place = new Map(goodness.map((level, i) => [level, goodness.length > 1 ? i / (goodness.length - 1) : 1]));
  levels = goodness.map(level => (goal() === "maximize" ? level : -level));
  tone = new Map(valued.map(trial => [trial.n, place.get(computeGoodness(trial))]));
}

/** The trial's value with its sign changed if less is better; null: no value. With several metrics, the first one's. */
function computeGoodness(trial) {
  const value = valueOf(trial);
  return value === null ? null : goal() === "maximize" ? value : -value;
}

const goal = () => (data.metrics.length ? data.metrics[0].goal : data.goal);
const metricName = () => (data.metrics.length ? data.metrics[0].name : data.metric ?? "value");

/** The name of a trial's value: of the last one, if the trials are ranked by it. */
const valueName = () => (data.value_rule === "last" && !data.metrics.length ? `last ${metricName()}` : metricName());

function valueOf(trial) {
  if (data.metrics.length) return trial.metrics[data.metrics[0].name] ?? null;
  return trial.value;
}

const $ = id => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function format(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2).replace("e+", "e").replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(5)));
}

/** Returns a function that writes the numbers of one column, so that they align on the decimal point. */
function makeAlignedFormat(values) {
  const numbers = values.filter(value => typeof value === "number");
  const sizes = numbers.map(Math.abs).filter(size => size > 0);
  if (!sizes.length || numbers.every(Number.isInteger)) return format;
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
  if (most >= 1e6 || least < 1e-5 || most / least > 1e5) {
    const digits = Math.max(...numbers.map(value => value.toExponential().split(/e[+-]/)[1].length));
    return value => value.toExponential(2).replace(/e([+-])(\d+)/, (_, sign, power) => `e${sign}${power.padStart(digits, "0")}`);
  }
  const needed = Math.max(...numbers.map(value => (String(Number(value.toPrecision(5))).split(".")[1] ?? "").length));
  const decimals = Math.min(needed, Math.max(2, 2 - Math.floor(Math.log10(least))), 7);
  return value => value.toFixed(decimals);
}

/** Returns a function that writes the durations of one column in one unit. */
function makeDurationFormat(values) {
  const most = Math.max(0, ...values.filter(value => typeof value === "number"));
  if (most < 120) return value => `${value.toFixed(1)} s`;
  const two = value => String(Math.floor(value)).padStart(2, "0");
  if (most < 7200) return value => `${Math.floor(value / 60)}:${two(value % 60)} min`;
  return value => `${Math.floor(value / 3600)}:${two((value % 3600) / 60)} h`;
}

function formatDuration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${(seconds / 86400).toFixed(1)} days`;
}

const formatTime = seconds => `${new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;

const formatPercent = share => (share > 0 && share < 0.01 ? "<1 %" : `${Math.round(share * 100)} %`);
const pluralize = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function redrawAll(what) {
  if (what === "theme") forgetTheme();
  for (const draw of redraw) draw(what);
}

function setHover(n) {
  if (selection.hover === n) return;
  selection.hover = n;
  redrawAll("hover");
}

/** Selects a trial, which trial.js shows; null, or the trial that is selected already: none. */
function togglePin(n) {
  selection.pinned = selection.pinned === n ? null : n;
  redrawAll("hover");
}

/** The numbers of the trials to highlight. */
const listHighlighted = () => [selection.pinned, selection.hover].filter(n => n !== null && trials.has(n));

/** Whether a trial lies in all ranges that the user has drawn on the axes, and its state is not hidden. */
function isInRanges(trial) {
  if (selection.hiddenStates.has(trial.state)) return false;
  for (const [axis, [low, high]] of selection.ranges) {
    const at = axis.at(trial);
    if (at === null || at < low || at > high) return false;
  }
  return true;
}

const STATES = ["finished", "stopped", "frozen", "running", "queued", "failed", "crashed"];
const SHAPES = {
  finished: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
  stopped: "M-4,-3.5h8l-4,8z",
  frozen: "M-4,3.5h8l-4,-8z",
  running: "M-3.5,-3.5h7v7h-7z",
  queued: "M-4,-1h8v2h-8z",
  failed: "M-4,-2.7L-2.7,-4L0,-1.3L2.7,-4L4,-2.7L1.3,0L4,2.7L2.7,4L0,1.3L-2.7,4L-4,2.7L-1.3,0z",
  crashed: "M0,-5L5,0L0,5L-5,0z",
  over: "M-5,0L0,-5L5,0L5,4L0,-1L-5,4z", // beyond the upper end of an axis
  under: "M-5,0L0,5L5,0L5,-4L0,1L-5,-4z",
};
const PATHS = Object.fromEntries(Object.entries(SHAPES).map(([state, path]) => [state, new Path2D(path)]));

const makeSymbol = state =>
  svg("svg", { viewBox: "-5 -5 10 10", "aria-hidden": "true" }, svg("path", { d: SHAPES[state] ?? SHAPES.queued, fill: `var(--${state}, var(--soft))` }));

/** The key to marks at the edge of a chart, for values outside its range; null if there are none. */
const makeOutKey = points => {
  const count = points.filter(point => point.out).length;
  return count ? makeKey(points.find(point => point.out).out, `${count} outside the range, marked at its edge`) : null;
};

const makeKey = (state, text) => el("span", { class: "key" }, makeSymbol(state), text ?? state);

// -- Theme --------------------------------------------------------------------------------------------------------

let darkness = null;

function isDark() {
  const asked = document.documentElement.dataset.theme;
  darkness ??= asked ? asked === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return darkness;
}

function forgetTheme() {
  darkness = null;
  inks.clear();
}

const inks = new Map(); // colours by name: every mark needs one; cleared when the theme changes

function readColour(name) {
  if (!inks.has(name)) inks.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return inks.get(name);
}

// One lightness from end to end, so that it reads without seeing hues; the best stands out from the paper.
const RAMPS = {
  light: [[222, 215, 196], [163, 199, 189], [74, 150, 168], [22, 90, 138], [13, 35, 86]],
  dark: [[58, 62, 74], [52, 95, 122], [58, 146, 156], [130, 204, 160], [250, 240, 150]],
};

function rampColour(t, alpha = 1) {
  const stops = RAMPS[isDark() ? "dark" : "light"];
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  const mix = stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * (at - i)));
  return `rgb(${mix.join(" ")} / ${alpha})`;
}

const trialColour = (trial, alpha) => (tone.has(trial.n) ? rampColour(tone.get(trial.n), alpha) : rampColour(0, alpha));

/** The colours with the values that they stand for. Colours follow the ranks, so that near the best ones differ too. */
function makeColourBar() {
  const bar = el("div", { class: "gradient", "aria-hidden": "true" });
  const paint = () => (bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(t => rampColour(t)).join(",")})`);
  paint();
  redraw.push(what => what === "theme" && paint());
  const valueAt = t => format(Number(levels[Math.round(t * (levels.length - 1))].toPrecision(3)));
  const shown = levels.length > 4 ? [0, 0.25, 0.5, 0.75, 1] : levels.length > 1 ? [0, 1] : [1];
  return el("div", { class: "colourbar" }, el("div", {}, `${valueName()}, worst to best; colours by rank`), bar, el("div", { class: "ends" }, shown.map(t => el("span", {}, valueAt(t)))));
}

/** A part of the page that scrolls sideways, with a shade and a button at the side where there is more. */
function makeScroller(id) {
  const inside = el("div", { class: "scroll", id });
  const move = by => inside.scrollBy({ left: by * inside.clientWidth * 0.8, behavior: "smooth" });
  const buttons = [[-1, "left", "‹"], [1, "right", "›"]].map(([by, side, sign]) => el("button", { type: "button", class: `further ${side}`, "aria-label": `Scroll to the ${side}`, onclick: () => move(by) }, sign));
  const outside = el("div", { class: "scroller" }, inside, buttons);
  const look = () => {
    buttons[0].hidden = inside.scrollLeft < 4;
    buttons[1].hidden = inside.scrollLeft + inside.clientWidth > inside.scrollWidth - 4;
  };
  inside.addEventListener("scroll", look, { passive: true });
  const observer = new ResizeObserver(look);
  observer.observe(inside);
  new MutationObserver(() => {
    for (const child of inside.children) observer.observe(child);
    look();
  }).observe(inside, { childList: true });
  return outside;
}

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { style: { position: "fixed", opacity: 0 } });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

/** A command with a button that copies it. */
function makeCommand(text) {
  const copy = el("button", { type: "button", onclick: () => copyText(text, copy) }, "Copy");
  return el("div", { class: "command" }, el("pre", { class: "wrap" }, text), copy);
}

const makeChoice = (label, options, chosen, set) =>
  el("label", { class: "choice" }, el("span", {}, label), el("select", { onchange: event => set(options[event.target.selectedIndex][0]) }, options.map(([value, text]) => el("option", { selected: value === chosen }, text ?? value))));

const makeSwitch = (text, on, set, title = null) =>
  el("button", { type: "button", class: on ? "on" : "", "aria-pressed": String(on), title, onclick: () => set(!on) }, text);
