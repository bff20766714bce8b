// Why trials failed: the reason of each, and the end of its traceback.

addPanel({
  id: "failed",
  parts: [makeHeading("Failed trials"), el("div", { id: "failures" })],
  draw() {
    if (!data.failures.length) return false;
    $("failures").replaceChildren(...data.failures.map(makeFailure));
  },
});

function makeFailure(failure) {
  const attempts = failure.attempts > 1 ? ` (${failure.attempts} attempts)` : "";
  const title = el("summary", {}, makeTrialLink(failure.n), " ", failure.reason || failure.state, attempts);
  return el("details", {}, title, el("pre", {}, failure.text || "It left no traceback; its log is in its directory."));
}
