// The origin of the sweep: its file, and the versions with which it ran.

addPanel({
  id: "files",
  parts: [makeHeading("How it was made"), el("div", { class: "pair flat", id: "made" })],
  draw() {
    const v = data.versions;
    const commit = v.commit ? `${v.commit.slice(0, 12)}${v.uncommitted ? " with uncommitted changes" : ""}` : "not in a git repository";
    const noted = v.noted === "start" ? "when the sweep was started" : "when this page was written";
    const facts = [["Directory", data.directory], ["Method", data.method], ["Early termination", data.stopper ?? "none"], ["Git commit", commit], ["Python", v.python], ["System", v.platform], ...Object.entries(v.packages ?? {}), ["Noted", noted]];
    $("made").replaceChildren(
      el("div", {}, el("pre", {}, data.sweep_file)),
      el("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    );
  },
});
