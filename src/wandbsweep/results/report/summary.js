// The summary: what the sweep is, its best trial, how far it is, and whether to continue.

addPanel({ id: "summary", card: false, label: "Summary", draw: drawSummary });

function drawSummary() {
  const best = data.best[0];
  $("mark").textContent = data.sweep_id;
  const what = data.metrics.length ? data.metrics.map(m => `${m.goal} ${m.name}`).join(", ") : data.metric ? `${data.goal} ${data.metric}` : "no metric";
  const parts = [data.method, `over ${pluralize(data.parameters.length, "parameter")}`, what];
  const state = data.completion?.fails ? "its trials fail, " : data.running ? "running, " : "";
  const title = data.metrics.length ? `The Pareto front: ${pluralize(data.best.length, "trial")} that no other beats in every metric` : detailOf(best?.n).command ? "Train the best one again" : "The best trial";
  const children = [
    el("div", {}, el("h1", {}, data.name ?? `Sweep ${data.sweep_id}`), el("p", { class: "sub" }, `${parts.join(" · ")} · ${state}as of ${formatTime(data.generated)}`), data.description ? el("p", { class: "sub" }, data.description) : null),
    el("div", { class: "tiles" }, makeBestTile(best), makeTrialsTile(), makeSavingsTile(), makeVerdictTile()),
    data.best.length ? el("div", { class: "card", id: "best" }, el("div", { class: "heading" }, el("h2", {}, title)), data.doubt ? el("p", { class: "warning" }, data.doubt) : null, data.best.slice(0, 3).map(makeBestBlock), data.best.length > 3 ? el("details", {}, el("summary", {}, `${data.best.length - 3} more`), data.best.slice(3).map(makeBestBlock)) : null) : null,
  ];
  $("summary").replaceChildren(...children.filter(child => child !== null));
}

const makeTile = (label, big, ...rest) => el("div", { class: "tile" }, el("h3", {}, label), el("div", { class: "big" }, big), rest);

/** Says of a trial at which step it reached its value, and its last value if that is another: the two differ in meaning. */
function describeValue(trial) {
  if (data.metrics.length || trial.at === null || trial.value === null) return "";
  const step = `at step ${trial.at}`;
  return trial.last !== trial.value ? `${step}, last ${format(trial.last)}` : `${step}, its last`;
}

function makeBestTile(best) {
  if (!best) return makeTile("Best", "–", el("p", {}, data.ranked ? "no trial has a value yet" : "the sweep has no metric, so nothing says what is better"));
  const trial = trials.get(best.n);
  const mean = trial.mean !== undefined && trial.mean !== null;
  return makeTile(
    data.metrics.length ? `First of the front, ${metricName()}` : `Best ${valueName()}`,
    format(mean ? trial.mean : valueOf(trial)),
    el("p", {}, data.metrics.length ? best.achieved : mean ? `${best.achieved.replace(`${metricName()} `, "")} (trial ${best.n} first)` : `trial ${best.n}, ${trial.state} after ${pluralize(trial.steps, "step")}`),
    mean ? null : el("p", {}, describeValue(trial)),
  );
}

function makeTrialsTile() {
  const ended = ["finished", "stopped", "frozen", "failed", "crashed"].reduce((sum, state) => sum + (data.counts[state] ?? 0), 0);
  const there = STATES.filter(state => data.counts[state]);
  return makeTile(
    "Trials",
    data.run_cap ? `${ended} of ${data.run_cap}` : String(ended),
    el("div", { class: "meter", "aria-hidden": "true" }, there.map(state => el("i", { style: { background: `var(--${state})`, flexGrow: data.counts[state] } }))),
    el("p", {}, there.map(state => `${data.counts[state]} ${state}`).join(" · ") || "none yet"),
  );
}

function makeSavingsTile() {
  const saved = data.savings;
  if (!saved || saved.whole === null) return makeTile("Time in trials", formatDuration(data.trials.reduce((sum, trial) => sum + (trial.seconds ?? 0), 0)), el("p", {}, data.stopper ? "nothing was stopped early so far" : "no early termination"));
  const doubtful = saved.doubtful.length;
  return makeTile(
    "Saved by stopping early",
    formatPercent(saved.share),
    el("p", {}, `${pluralize(saved.steps, "step")}, about ${formatDuration(saved.seconds)}, in ${pluralize(saved.stopped, "trial")}`),
    el("p", {}, !saved.judged ? "whether rightly is unknown" : doubtful ? `${pluralize(doubtful, "stopped trial")} might have won: ${saved.doubtful.slice(0, 3).map(([n]) => n).join(", ")}${doubtful > 3 ? ", …" : ""}` : "none of them was likely to win"),
  );
}

function makeVerdictTile() {
  const over = data.completion;
  if (over?.fails) return makeTile("Continue searching?", "Its trials fail", el("p", {}, over.reason));
  const verdict = data.analysis.verdict;
  const ended = over && !data.running ? el("p", {}, `No more trials: ${over.reason}.`) : null;
  if (!verdict) return makeTile("Continue searching?", "–", el("p", {}, "nothing to judge by"), ended);
  const convergence = data.analysis.health.find(check => check.question.startsWith("Has the search"));
  return makeTile("Continue searching?", verdict[0].toUpperCase() + verdict.slice(1), el("p", {}, convergence.evidence.split(". ")[0], ". ", el("a", { href: "#health" }, "Why")), ended);
}

function makeBestBlock(best) {
  const { command } = detailOf(best.n);
  return el(
    "div",
    { class: "best" },
    el("div", {}, makeTrialLink(best.n), ` · ${best.achieved}`, el("div", { class: "chips" }, best.params.map(([name, value]) => el("span", { class: "chip" }, el("span", {}, `${name} `), el("b", {}, value))))),
    command ? makeCommand(command) : null,
    best.retraining.map(line => (line.startsWith(" ") ? makeCommand(line.trim()) : el("p", { class: "hint" }, line))),
    best.checkpoint ? el("p", { class: "hint" }, `Its checkpoint: ${best.checkpoint}`) : null,
  );
}
