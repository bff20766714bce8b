// The leaderboard: sortable and filterable, with a few rows at a time since thousands would slow the browser down.

const PAGE = 15;
const tableView = { sorted: null, shown: PAGE }; // sorted: a column's name and 1 or -1; null: by rank

addPanel({
  id: "trials",
  parts: [
    makeHeading(
      "Leaderboard",
      "Click a trial for its command, files, curves and error.",
      el("button", { type: "button", id: "csv", title: "Download the trials that are listed, with all their values" }, "CSV"),
      el(
        "label",
        { class: "search" },
        el("span", { class: "sr" }, "Filter trials"),
        el("input", { type: "search", id: "query", placeholder: "Filter: convnet, state:stopped, lr<0.01", autocomplete: "off", spellcheck: "false" }),
      ),
    ),
    makeScroller("board"),
    el("div", { class: "more", id: "more" }),
  ],
  draw: drawTable,
});

/** The columns: `name` as shown, `title` in full. Only numbers of the sweep's own metric are its value; the others are last. */
function listColumns() {
  const own = data.metrics.length ? data.metrics.map(m => ({ name: m.name, read: trial => trial.metrics[m.name] ?? null })) : [{ name: valueName(), read: valueOf }];
  if (data.trials.some(trial => trial.mean !== undefined)) own.push({ name: "mean", read: trial => trial.mean ?? null });
  const isCurve = !data.metrics.length && data.trials.some(trial => trial.steps > 1);
  if (isCurve) own.push({ name: "at step", title: `the step at which ${metricName()} had this value`, read: trial => trial.at });
  if (isCurve && data.value_rule === "best") own.push({ name: "last", title: `the last ${metricName()}`, read: trial => trial.last });
  const others = data.reported.filter(name => name !== data.metric && !own.some(m => m.name === name)).map(name => ({ name: isCurve ? `${name} (last)` : name, title: isCurve ? `the last ${name}, not the one at the step of the best ${metricName()}` : name, key: name, read: trial => trial.metrics[name] ?? null }));
  const columns = [
    { name: "trial", read: trial => trial.n, show: trial => [el("span", { class: "heat", style: { background: tone.has(trial.n) ? trialColour(trial) : "transparent" } }), el("button", { type: "button", class: "link" }, String(trial.n))] },
    { name: "state", read: trial => trial.state, show: (trial, value) => [el("span", { class: "state", title: trial.infeasible || trial.reason || null }, makeSymbol(value), trial.infeasible ? `${value}, infeasible` : value)] },
    ...own.map(m => ({ ...m, numeric: true })),
    ...data.parameters.map((parameter, i) => {
      const axis = makeParameterAxis(parameter, i);
      const numeric = parameter.kind !== "list" || parameter.values.every(value => value !== "" && Number.isFinite(Number(value)));
      const read = trial => (parameter.kind === "list" && numeric && trial.params[i] !== null ? Number(trial.params[i]) : trial.params[i]);
      return { name: parameter.label, title: parameter.name, numeric, read, order: numeric ? null : axis.at };
    }),
    ...others.map(m => ({ ...m, numeric: true })),
    { name: "steps", numeric: true, read: trial => trial.steps },
    { name: "time", numeric: true, read: trial => trial.seconds, durations: true },
    { name: "attempts", numeric: true, read: trial => trial.attempts, hide: data.trials.every(trial => trial.attempts === 1) },
    { name: "agent", read: trial => trial.agent },
  ].filter(column => !column.hide);
  for (const column of columns) {
    const values = data.trials.map(column.read);
    const write = column.durations ? makeDurationFormat(values) : column.numeric && values.every(value => typeof value !== "string") ? makeAlignedFormat(values) : format;
    column.show ??= (trial, value) => [write(value)];
  }
  return columns;
}

function drawTable() {
  if (!data.trials.length) return false;
  const host = $("board");
  const columns = listColumns();
  const place = new Map(byRank.map((trial, i) => [trial.n, i + 1]));
  const head = el("tr", {}, columns.map(column => el("th", { scope: "col", class: column.numeric ? "num" : "", title: column.title }, el("button", { type: "button", onclick: () => sort(column) }, column.name))));
  const body = el("tbody");
  host.replaceChildren(el("table", {}, el("thead", {}, head), body));

  function sort(column) {
    const [name, direction] = tableView.sorted ?? [];
    tableView.sorted = name !== column.name ? [column.name, 1] : direction === 1 ? [name, -1] : null;
    render();
  }

  const listWords = trial => columns.map(column => `${column.title ?? column.name}:${column.read(trial) ?? ""}`.toLowerCase());

  function matches(trial) {
    return selection.query.toLowerCase().split(/[\s,]+/).filter(Boolean).every(term => {
      const [, name, sign, value] = term.match(/^([^<>=:]+)([<>=:]+)(.+)$/) ?? [];
      const column = name && columns.find(c => [c.name, c.title, c.key].some(own => own?.toLowerCase() === name));
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
    const column = columns.find(one => one.name === tableView.sorted?.[0]);
    if (!column) return found;
    const direction = tableView.sorted[1];
    const keyOf = column.order ?? column.read;
    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
    const has = found.filter(trial => keyOf(trial) !== null && keyOf(trial) !== undefined);
    const lacks = found.filter(trial => keyOf(trial) === null || keyOf(trial) === undefined); // last in either direction
    return [...has.sort((a, b) => direction * compare(keyOf(a), keyOf(b)) || place.get(a.n) - place.get(b.n)), ...lacks];
  }

  function makeRow(trial) {
    const cells = columns.map(column => {
      const value = column.read(trial);
      const content = value === null || value === undefined ? ["–"] : column.show(trial, value);
      return el("td", { class: column.numeric ? "num" : "", title: typeof value === "string" && value.length > 24 ? value : null }, content);
    });
    const made = el("tr", { "data-n": trial.n }, cells);
    made.addEventListener("pointerenter", () => setHover(trial.n));
    made.addEventListener("pointerleave", () => setHover(null));
    made.addEventListener("click", () => togglePin(trial.n));
    return made;
  }

  function render() {
    const found = listRows();
    const shown = tableView.shown;
    body.replaceChildren(...found.slice(0, shown).map(makeRow));
    [...head.children].forEach((cell, i) => {
      if (tableView.sorted?.[0] === columns[i].name) cell.setAttribute("aria-sort", tableView.sorted[1] > 0 ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
    const said = found.length < data.trials.length ? `${found.length} of ${pluralize(data.trials.length, "trial")} match` : pluralize(data.trials.length, "trial");
    $("more").replaceChildren(
      el("span", { role: "status" }, `${Math.min(shown, found.length)} shown, ${said}`),
      found.length > shown ? el("button", { type: "button", onclick: () => ((tableView.shown += 20 * PAGE), render()) }, "Show more") : "",
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
  $("csv").onclick = () => downloadCsv(columns, listRows());
  redraw.push(what => (what === "hover" ? light() : render()));
  render();
}

function downloadCsv(columns, rows) {
  const quote = value => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const write = cells => cells.map(cell => quote(String(cell ?? ""))).join(",");
  const parameters = data.parameters.map(parameter => parameter.name);
  const heads = columns.map(column => (parameters.includes(column.title) ? column.title : column.durations ? "seconds" : column.name));
  const lines = [write([...heads, "reason"]), ...rows.map(trial => write([...columns.map(column => column.read(trial)), trial.infeasible || trial.reason]))];
  const link = el("a", { href: URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" })), download: `${data.sweep_id}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
