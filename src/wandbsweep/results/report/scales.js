// Scales: from values to positions between 0 and 1.

const switched = new Set(); // the names of the axes whose scale the user has switched between linear and logarithmic

/** The axis of the parameter number `index`: `at(trial)` is from 0 (low end, first value) to 1; null: the trial lacks it. */
function makeParameterAxis(parameter, index) {
  const logarithmic = (parameter.kind === "log") !== switched.has(parameter.name) && parameter.low > 0;
  const scale = parameter.kind === "list" ? makeListScale(parameter.values) : makeNumberScale(parameter.low, parameter.high, logarithmic, parameter.whole);
  return { ...scale, name: parameter.name, label: parameter.label, when: parameter.when, index, at: trial => scale.place(trial.params[index]) };
}

/** The axis of a metric; `out(trial)` says whether its value lies outside, so that its mark is drawn at the edge. */
function makeValueAxis(name, read, direction) {
  const values = data.trials.map(read).filter(value => value !== null && value !== undefined);
  const scale = makeMetricScale(values, { direction, logarithmic: switched.has(name), share: 0 });
  const placed = trial => (typeof read(trial) === "number" ? placeInside(scale, read(trial)) : [null, null]);
  return { ...scale, name, label: name, isOutcome: true, at: trial => placed(trial)[0], out: trial => placed(trial)[1] };
}

/** The scale of a metric's values, without the bad ones that would squash the rest, and with a little room at the ends. */
function makeMetricScale(values, { direction = goal(), logarithmic = false, share = 0.06 } = {}) {
  const [low, high] = findRange(values, direction);
  if (!logarithmic || !(low > 0)) return makeNumberScale(...(share ? addPadding([low, high], share) : [low, high]), false, false);
  const factor = (high / low) ** share;
  return makeNumberScale(low / factor, high * factor, true, false);
}

/** The place of a value, at the edge if it lies outside; and then "over" or "under". */
function placeInside(scale, value) {
  const at = scale.place(value);
  return at > 1.0001 ? [1, "over"] : at < -0.0001 || Number.isNaN(at) ? [0, "under"] : [at, null];
}

function makeListScale(values) {
  const position = new Map(values.map((value, i) => [value, values.length > 1 ? i / (values.length - 1) : 0.5]));
  return {
    kind: "list",
    place: value => position.get(value) ?? null,
    ticks: () => values.map(value => [position.get(value), value]),
  };
}

function makeNumberScale(low, high, logarithmic, whole) {
  if (!(high > low)) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const to = logarithmic ? Math.log : x => x;
  const back = logarithmic ? Math.exp : x => x;
  const span = to(high) - to(low);
  return {
    kind: logarithmic ? "log" : "linear",
    low,
    high,
    whole,
    place: value => (typeof value === "number" ? (to(value) - to(low)) / span : null),
    value: at => back(to(low) + at * span),
    ticks: count => (logarithmic ? listDecades(low, high, count) : listSteps(low, high, count, whole)).map(value => [(to(value) - to(low)) / span, format(value)]),
  };
}

function listSteps(low, high, count = 5, whole = false) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].find(m => m * power >= 0.8 * rough) * power;
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function listDecades(low, high, count = 5) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  if (last - first < 1) return listSteps(low, high, count).filter(value => value > 0);
  const every = Math.ceil((last - first + 1) / Math.max(count, 2));
  const found = [];
  for (let e = first; e <= last; e += every) for (const part of 3 * (last - first + 1) <= count ? [1, 2, 5] : [1]) found.push(Number(`${part}e${e}`));
  return found.filter(value => value <= high * 1.0001);
}

/** The range to show: all good values, and bad ones only up to where a few diverged ones would squash the rest.
 *  A direction that is unknown is null: then either end may be cut. */
function findRange(values, direction = goal()) {
  if (!values.length) return [0, 1];
  const sorted = [...values].sort((a, b) => a - b);
  const quantile = q => sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(q * (sorted.length - 1))))];
  let [low, high] = [sorted[0], sorted[sorted.length - 1]];
  const spread = quantile(0.75) - quantile(0.25) || high - low;
  if (direction !== "minimize") low = Math.max(low, quantile(0.25) - 3 * spread);
  if (direction !== "maximize") high = Math.min(high, quantile(0.75) + 3 * spread);
  return [low, high];
}

const findExtent = values => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

function addPadding([low, high], share = 0.06) {
  const pad = (high - low) * share || Math.abs(low) * 0.1 || 0.5;
  return [low - pad, high + pad];
}
