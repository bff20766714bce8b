// The leaderboard: sortable and filterable, with a few rows at a time since thousands would slow the browser down.

const PAGE = 15;

addPanel({
  id: "trials",
  nav: "Trials",
  parts: [
    makeHeading(
      "Leaderboard",
      null,
      el(
        "label",
        { class: "search" },
        el("span", { class: "sr" }, "Filter trials"),
        el("input", { type: "search", id: "query", placeholder: "Filter: convnet, state:stopped, lr<0.01", autocomplete: "off", spellcheck: "false" }),
      ),
    ),
    el("div", { class: "scroll", id: "board" }),
    el("div", { class: "more", id: "more" }),
  ],
  draw: drawTable,
});

function drawTable() {
  if (!data.trials.length) return false;
  const host = $("board");
  const metrics = data.metrics.length ? data.metrics.map(m => ({ name: m.name, read: trial => trial.metrics[m.name] ?? null })) : [{ name: metricName(), read: valueOf }];
  if (data.trials.some(trial => trial.mean !== undefined)) metrics.push({ name: "mean", read: trial => trial.mean ?? null });
  const others = data.reported.filter(name => !metrics.some(m => m.name === name)).map(name => ({ name, read: trial => trial.metrics[name] ?? null }));
  const place = new Map(byRank.map((trial, i) => [trial.n, i + 1]));
  const columns = [
    { name: "trial", read: trial => trial.n, show: (trial, value) => [el("span", { class: "heat", style: { background: tone.has(trial.n) ? trialColour(trial) : "transparent" } }), String(value)] },
    { name: "state", read: trial => trial.state, show: (trial, value) => [el("span", { class: "state", title: trial.reason || null }, makeSymbol(value), value)] },
    ...metrics.map(m => ({ ...m, numeric: true })),
    ...data.parameters.map((parameter, i) => {
      const axis = makeParameterAxis(parameter, i);
      return { name: parameter.label, title: parameter.name, numeric: parameter.kind !== "list", read: trial => trial.params[i], order: parameter.kind === "list" ? axis.at : null };
    }),
    ...others.map(m => ({ ...m, numeric: true })),
    { name: "steps", numeric: true, read: trial => trial.steps },
    { name: "time", numeric: true, read: trial => trial.seconds, show: (trial, value) => [formatDuration(value)] },
    { name: "attempts", numeric: true, read: trial => trial.attempts, hide: data.trials.every(trial => trial.attempts === 1) },
    { name: "agent", read: trial => trial.agent },
  ].filter(column => !column.hide);
  let sorted = null; // [column, direction]; null: by rank
  let shown = PAGE;

  const head = el("tr", {}, columns.map(column => el("th", { scope: "col", class: column.numeric ? "num" : "", title: column.title }, el("button", { type: "button", onclick: () => sort(column) }, column.name))));
  const body = el("tbody");
  host.replaceChildren(el("table", {}, el("thead", {}, head), body));

  function sort(column) {
    const direction = sorted?.[0] === column ? -sorted[1] : 1;
    sorted = sorted?.[0] === column && sorted[1] === -1 ? null : [column, direction];
    render();
  }

  const listWords = trial => columns.map(column => `${column.title ?? column.name}:${column.read(trial) ?? ""}`.toLowerCase());

  function matches(trial) {
    return selection.query.toLowerCase().split(/[\s,]+/).filter(Boolean).every(term => {
      const [, name, sign, value] = term.match(/^([^<>=:]+)([<>=:]+)(.+)$/) ?? [];
      const column = name && columns.find(c => c.name.toLowerCase() === name || c.title?.toLowerCase() === name);
      if (!column) return listWords(trial).some(word => word.slice(word.indexOf(":") + 1).includes(term)) || String(trial.n) === term;
      const found = column.read(trial);
      if (found === null || found === undefined) return false;
      const [left, right] = [Number(found), Number(value)];
      if (sign.startsWith("<")) return sign === "<=" ? left <= right : left < right;
      if (sign.startsWith(">")) return sign === ">=" ? left >= right : left > right;
      return Number.isNaN(right) || typeof found === "string" ? String(found).toLowerCase().includes(value) : left === right;
    });
  }

  function listRows() {
    const found = byRank.filter(trial => isInRanges(trial) && matches(trial));
    if (!sorted) return found;
    const [column, direction] = sorted;
    const keyOf = column.order ?? column.read;
    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
    const has = found.filter(trial => keyOf(trial) !== null && keyOf(trial) !== undefined);
    const lacks = found.filter(trial => keyOf(trial) === null || keyOf(trial) === undefined); // last in either direction
    return [...has.sort((a, b) => direction * compare(keyOf(a), keyOf(b)) || place.get(a.n) - place.get(b.n)), ...lacks];
  }

  function makeRow(trial) {
    const cells = columns.map(column => {
      const value = column.read(trial);
      const content = value === null || value === undefined ? ["–"] : column.show ? column.show(trial, value) : [format(value)];
      return el("td", { class: column.numeric ? "num" : "" }, content);
    });
    const made = el("tr", { "data-n": trial.n }, cells);
    made.addEventListener("pointerenter", () => setHover(trial.n));
    made.addEventListener("pointerleave", () => setHover(null));
    made.addEventListener("click", () => togglePin(trial.n));
    return made;
  }

  function render() {
    const found = listRows();
    body.replaceChildren(...found.slice(0, shown).map(makeRow));
    [...head.children].forEach((cell, i) => {
      if (sorted?.[0] === columns[i]) cell.setAttribute("aria-sort", sorted[1] > 0 ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
    const said = found.length < data.trials.length ? `${found.length} of ${pluralize(data.trials.length, "trial")} match` : pluralize(data.trials.length, "trial");
    $("more").replaceChildren(
      el("span", { role: "status" }, `${Math.min(shown, found.length)} shown, ${said}`),
      found.length > shown ? el("button", { type: "button", onclick: () => ((shown += 20 * PAGE), render()) }, "Show more") : "",
    );
    light();
  }

  function light() {
    for (const made of body.children) {
      const n = Number(made.dataset.n);
      made.classList.toggle("lit", n === selection.hover);
      made.classList.toggle("pinned", n === selection.pinned);
    }
  }

  $("query").oninput = event => {
    selection.query = event.target.value;
    render();
  };
  redraw.push(what => (what === "hover" ? light() : render()));
  render();
}
