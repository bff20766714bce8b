// The data, what is chosen in it, and how elements are made. Text from the data becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";
let data = JSON.parse(document.getElementById("data").textContent);
let trials = new Map();
let byRank = []; // trials, the best first
let tone = new Map(); // trial number -> 0 (worst) to 1 (best), for those with a value

const chosen = { hover: null, pinned: null, ranges: new Map(), query: "" };
const redraw = []; // what to do when anything of the above or the theme changes; called with what changed

function prepare() {
  trials = new Map(data.trials.map(trial => [trial.n, trial]));
  byRank = data.order.map(n => trials.get(n));
  const valued = byRank.filter(trial => goodness(trial) !== null && !["failed", "crashed"].includes(trial.state));
  const levels = [...new Set(valued.map(goodness))].sort((a, b) => a - b);
  const place = new Map(levels.map((level, i) => [level, levels.length > 1 ? i / (levels.length - 1) : 1]));
  tone = new Map(valued.map(trial => [trial.n, place.get(goodness(trial))]));
}

/** More is better; null: no value. Of several metrics it is the first one's. */
function goodness(trial) {
  const value = valueOf(trial);
  return value === null ? null : goal() === "maximize" ? value : -value;
}

const goal = () => (data.metrics.length ? data.metrics[0].goal : data.goal);
const metricName = () => (data.metrics.length ? data.metrics[0].name : data.metric ?? "value");

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

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${(seconds / 86400).toFixed(1)} days`;
}

const percent = share => (share > 0 && share < 0.01 ? "<1 %" : `${Math.round(share * 100)} %`);
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function changed(what) {
  if (what === "theme") forgetTheme();
  for (const draw of redraw) draw(what);
}

function hover(n) {
  if (chosen.hover === n) return;
  chosen.hover = n;
  changed("hover");
}

function pin(n) {
  chosen.pinned = chosen.pinned === n ? null : n;
  changed("hover");
}

/** The trials to light up. */
const lit = () => [chosen.pinned, chosen.hover].filter(n => n !== null && trials.has(n));

/** Whether a trial is within all ranges that were drawn on the axes. */
function within(trial) {
  for (const [axis, [low, high]] of chosen.ranges) {
    const at = axis.at(trial);
    if (at === null || at < low || at > high) return false;
  }
  return true;
}

const STATES = ["finished", "stopped", "running", "queued", "failed", "crashed", "preempted"];
const SHAPES = {
  finished: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
  stopped: "M-4,-3.5h8l-4,8z",
  running: "M-3.5,-3.5h7v7h-7z",
  queued: "M-4,-1h8v2h-8z",
  failed: "M-4,-2.7L-2.7,-4L0,-1.3L2.7,-4L4,-2.7L1.3,0L4,2.7L2.7,4L0,1.3L-2.7,4L-4,2.7L-1.3,0z",
  crashed: "M0,-5L5,0L0,5L-5,0z",
  preempted: "M-4,-4h3v8h-3zM1,-4h3v8h-3z",
};
const PATHS = Object.fromEntries(Object.entries(SHAPES).map(([state, path]) => [state, new Path2D(path)]));

const symbol = state =>
  svg("svg", { viewBox: "-5 -5 10 10", "aria-hidden": "true" }, svg("path", { d: SHAPES[state] ?? SHAPES.queued, fill: `var(--${state})` }));

const key = (state, text) => el("span", { class: "key" }, symbol(state), text ?? state);

// -- Theme --------------------------------------------------------------------------------------------------------

let isDark = null;

function dark() {
  const asked = document.documentElement.dataset.theme;
  isDark ??= asked ? asked === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return isDark;
}

function forgetTheme() {
  isDark = null;
  inks.clear();
}
const inks = new Map(); // asked for with every mark; forgotten when the theme changes

function ink(name) {
  if (!inks.has(name)) inks.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return inks.get(name);
}

// One lightness from end to end, so that it reads without seeing hues; the best stands out from the paper.
const RAMPS = {
  light: [[222, 215, 196], [163, 199, 189], [74, 150, 168], [22, 90, 138], [13, 35, 86]],
  dark: [[58, 62, 74], [52, 95, 122], [58, 146, 156], [130, 204, 160], [250, 240, 150]],
};

function ramp(t, alpha = 1) {
  const stops = RAMPS[dark() ? "dark" : "light"];
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  const mix = stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * (at - i)));
  return `rgb(${mix.join(" ")} / ${alpha})`;
}

const colour = (trial, alpha) => (tone.has(trial.n) ? ramp(tone.get(trial.n), alpha) : ramp(0, alpha));
