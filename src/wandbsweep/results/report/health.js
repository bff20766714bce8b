// Health checks: whether the result can be trusted, each with its evidence.

addPanel({
  id: "health",
  parts: [makeHeading("Health checks", null, el("span", { id: "health-count" })), el("ul", { class: "checks", id: "checks" })],
  draw() {
    const checks = data.analysis.health;
    if (!checks.length) return false;
    const doubtful = checks.filter(check => check.verdict === "doubtful").length;
    $("health-count").textContent = doubtful ? `${doubtful} of ${checks.length} doubtful` : "nothing doubtful";
    $("checks").replaceChildren(...checks.map(makeCheck));
  },
});

const VERDICTS = { good: "✓", doubtful: "!", unknown: "?" };

const makeCheck = check =>
  el("li", { class: check.verdict }, el("span", { class: "verdict", role: "img", "aria-label": check.verdict }, VERDICTS[check.verdict]), el("div", {}, el("b", {}, check.question), ` ${check.answer}`), el("p", { class: "hint" }, check.evidence.split("`").map((text, i) => (i % 2 ? el("code", {}, text) : text))));
