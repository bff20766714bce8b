// What a reader wants to know first; and what the sweep was made of, last.

function summary() {
  const best = data.best[0];
  $("mark").textContent = data.sweep_id;
  const what = data.metrics.length ? data.metrics.map(m => `${m.goal} ${m.name}`).join(", ") : data.metric ? `${data.goal} ${data.metric}` : "no metric";
  const when = new Date(data.generated * 1000).toISOString().slice(0, 16).replace("T", " ");
  const parts = [data.method, `over ${plural(data.parameters.length, "parameter")}`, what];
  $("summary").replaceChildren(
    el("div", {}, el("h1", {}, data.name ?? `Sweep ${data.sweep_id}`), el("p", { class: "sub" }, `${parts.join(" · ")} · ${data.running ? "running, " : ""}as of ${when} UTC`), data.description ? el("p", { class: "sub" }, data.description) : null),
    el("div", { class: "tiles" }, bestTile(best), trialsTile(), savedTile(), verdictTile()),
    data.best.length ? el("div", { class: "card", id: "best" }, el("div", { class: "heading" }, el("h2", {}, data.metrics.length ? `The Pareto front: ${plural(data.best.length, "trial")} that no other beats in everything` : "Train the best one again")), data.best.slice(0, 3).map(bestBlock), data.best.length > 3 ? el("details", {}, el("summary", {}, `${data.best.length - 3} more`), data.best.slice(3).map(bestBlock)) : null) : null,
  );
}

const tile = (title, big, ...more) => el("div", { class: "tile" }, el("h3", {}, title), el("div", { class: "big" }, big), ...more);

function bestTile(best) {
  if (!best) return tile("Best", "–", el("p", {}, data.ranked ? "no trial has a value yet" : "the sweep has no metric, so nothing says what is better"));
  const trial = trials.get(best.n);
  const mean = trial.mean !== undefined && trial.mean !== null;
  return tile(
    data.metrics.length ? `First of the front, ${metricName()}` : `Best ${metricName()}`,
    format(mean ? trial.mean : valueOf(trial)),
    el("p", {}, data.metrics.length ? best.achieved : mean ? `${best.achieved.replace(`${metricName()} `, "")} (trial ${best.n} first)` : `trial ${best.n}, ${trial.state} after ${plural(trial.steps, "step")}`),
  );
}

function trialsTile() {
  const ended = ["finished", "stopped", "failed", "crashed"].reduce((sum, state) => sum + (data.counts[state] ?? 0), 0);
  const there = STATES.filter(state => data.counts[state]);
  return tile(
    "Trials",
    data.run_cap ? `${ended} of ${data.run_cap}` : String(ended),
    el("div", { class: "meter", "aria-hidden": "true" }, there.map(state => el("i", { style: { background: `var(--${state})`, flexGrow: data.counts[state] } }))),
    el("p", {}, there.map(state => `${data.counts[state]} ${state}`).join(" · ") || "none was asked for yet"),
  );
}

function savedTile() {
  const saved = data.savings;
  if (!saved || saved.whole === null) return tile("Time in trials", duration(data.trials.reduce((sum, trial) => sum + (trial.seconds ?? 0), 0)), el("p", {}, data.stopper ? "nothing was stopped early so far" : "no early termination"));
  const doubtful = saved.doubtful.length;
  return tile(
    "Saved by stopping early",
    percent(saved.share),
    el("p", {}, `${plural(saved.steps, "step")}, about ${duration(saved.seconds)}, in ${plural(saved.stopped, "trial")}`),
    el("p", {}, !saved.judged ? "whether rightly, cannot be told" : doubtful ? `${plural(doubtful, "stopped trial")} might have won: ${saved.doubtful.slice(0, 3).map(([n]) => n).join(", ")}` : "none of them was likely to win"),
  );
}

function verdictTile() {
  const verdict = data.analysis?.convergence;
  if (!verdict) return tile("Go on?", "–", el("p", {}, "nothing to judge by"));
  const big = verdict.converged ? "Time to stop" : verdict.warning ? "Too early to tell" : verdict.stalled ? "Stalled, yet scattered" : verdict.concentrated ? "Closing in" : "Yes, it still pays";
  return tile("Go on searching?", big, el("ul", {}, verdict.reasons.map(reason => el("li", {}, reason))));
}

function bestBlock(best) {
  const copy = el("button", { type: "button", onclick: () => copyText(best.command, copy) }, "Copy");
  return el(
    "div",
    { class: "best" },
    el("div", {}, el("b", {}, `Trial ${best.n}`), ` · ${best.achieved}`, el("div", { class: "chips" }, best.params.map(([name, value]) => el("span", { class: "chip" }, el("span", {}, `${name} `), el("b", {}, value))))),
    copy,
    el("pre", { class: "wrap" }, best.command),
  );
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

function made() {
  const v = data.versions;
  const commit = v.commit ? `${v.commit.slice(0, 12)}${v.uncommitted ? " with uncommitted changes" : ""}` : "not in a git repository";
  const noted = v.noted === "start" ? "when the sweep was started" : "when this page was written";
  const facts = [["Directory", data.directory], ["Method", data.method], ["Early termination", data.stopper ?? "none"], ["Git commit", commit], ["Python", v.python], ["System", v.platform], ...Object.entries(v.packages ?? {}), ["Noted", noted]];
  $("made").replaceChildren(
    el("div", {}, el("pre", {}, data.sweep_file)),
    el("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
  );
}

function failures() {
  $("failed").hidden = !data.failures.length;
  $("failures").replaceChildren(
    ...data.failures.map(failure =>
      el("details", {}, el("summary", {}, el("b", {}, `Trial ${failure.n}`), failure.reason || failure.state, failure.attempts > 1 ? ` (${failure.attempts} attempts)` : ""), el("pre", {}, failure.text || "It left no traceback; its log stands in its directory.")),
    ),
  );
}
