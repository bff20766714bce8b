// Draws the panels, the theme's button and the navigation; on a live page, again whenever there are new data.

const THEMES = ["auto", "light", "dark"];

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[name];
  $("theme").dataset.now = name;
  try {
    localStorage.setItem("wandbsweep-theme", name);
  } catch {
    // Some browsers have no storage for files: then the theme lasts as long as the page.
  }
}

function readStoredTheme() {
  try {
    return THEMES.includes(localStorage.getItem("wandbsweep-theme")) ? localStorage.getItem("wandbsweep-theme") : "auto";
  } catch {
    return "auto";
  }
}

function build() {
  forgetTheme();
  indexTrials();
  redraw.length = 0;
  for (const observer of observers.splice(0)) observer.disconnect();
  for (const { section, draw } of panels) {
    section.hidden = false; // a chart in a hidden section would have no width
    section.hidden = draw() === false;
  }
  const listed = panels.filter(panel => panel.listed && !panel.section.hidden);
  $("nav").replaceChildren(...listed.map(({ section }) => el("a", { href: `#${section.id}`, onclick: () => $("menu").classList.remove("open") }, section.querySelector("h2").textContent)));
  $("foot").textContent = `Written by wandbsweep ${data.wandbsweep} at ${formatTime(data.generated)}, from ${data.directory}. This file needs no network.`;
  document.documentElement.dataset.ready = "yes";
}

/** Makes all panels again, because something has changed that they are laid out by. */
function rebuild() {
  const at = scrollY;
  build();
  scrollTo({ top: at, behavior: "instant" });
}

$("menu").querySelector("button").onclick = () => $("menu").classList.toggle("open");
$("menu").append(makeScroller("nav"));
$("theme").onclick = () => {
  setTheme(THEMES[(THEMES.indexOf($("theme").dataset.now) + 1) % THEMES.length]);
  redrawAll("theme");
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redrawAll("theme"));
// Paper is white, also if the screen is dark.
let onScreen = null;
addEventListener("beforeprint", () => {
  onScreen = $("theme").dataset.now;
  document.documentElement.dataset.theme = "light";
  redrawAll("theme");
});
addEventListener("afterprint", () => {
  setTheme(onScreen ?? "auto");
  redrawAll("theme");
});
document.addEventListener("keydown", event => {
  if (event.key !== "Escape") return;
  selection.pinned = null;
  selection.ranges.clear();
  selection.hiddenStates.clear();
  redrawAll("ranges");
});

setTheme(readStoredTheme());
build();

if (data.live) {
  const status = $("live");
  status.hidden = false;
  let seen = null;
  const showStatus = (text, lost) => {
    status.textContent = text;
    status.classList.toggle("lost", Boolean(lost));
  };
  const poll = async () => {
    try {
      const answer = await fetch(`data.json${location.search}`, { headers: seen ? { "If-None-Match": seen } : {}, cache: "no-store" });
      if (!answer.ok && answer.status !== 304) throw new Error(answer.statusText);
      if (answer.status === 200) {
        seen = answer.headers.get("ETag");
        data = { ...(await answer.json()), live: true };
        rebuild();
      }
      showStatus(data.running ? "live" : "ended");
      if (!data.running) return;
    } catch {
      showStatus("connection lost", true);
    }
    setTimeout(poll, 3000);
  };
  showStatus("live");
  setTimeout(poll, 3000);
}
