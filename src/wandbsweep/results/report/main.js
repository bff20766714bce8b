// Puts the page together; and, where it is served live, again whenever there is something new.

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[name];
  $("theme").dataset.now = name;
  try {
    localStorage.setItem("wandbsweep-theme", name);
  } catch {
    // Files of some browsers have no storage: the choice lasts as long as the page.
  }
}

function storedTheme() {
  try {
    return THEMES.includes(localStorage.getItem("wandbsweep-theme")) ? localStorage.getItem("wandbsweep-theme") : "auto";
  } catch {
    return "auto";
  }
}

function build() {
  forgetTheme();
  prepare();
  redraw.length = 0;
  for (const observer of observers.splice(0)) observer.disconnect();
  for (const part of [summary, parallel, rampLegend, table, bars, progress, learning, effects, timeline, failures, made]) part();
  if (data.ranked === false || !tone.size) $("ramp").replaceChildren();
  const sections = [...document.querySelectorAll("section[data-title]")].filter(section => !section.hidden);
  $("nav").replaceChildren(...sections.map(section => el("a", { href: `#${section.id}` }, section.dataset.title)));
  document.documentElement.dataset.ready = "yes";
}

$("theme").onclick = () => {
  theme(THEMES[(THEMES.indexOf($("theme").dataset.now) + 1) % THEMES.length]);
  changed("theme");
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => changed("theme"));
// Paper is white, whatever the screen is.
let onScreen = null;
addEventListener("beforeprint", () => {
  onScreen = $("theme").dataset.now;
  document.documentElement.dataset.theme = "light";
  changed("theme");
});
addEventListener("afterprint", () => {
  theme(onScreen ?? "auto");
  changed("theme");
});
document.addEventListener("keydown", event => {
  if (event.key !== "Escape") return;
  chosen.pinned = null;
  chosen.ranges.clear();
  changed("ranges");
});

theme(storedTheme());
build();

if (data.live) {
  const status = $("live");
  status.hidden = false;
  let seen = null;
  const say = (text, lost) => {
    status.textContent = text;
    status.classList.toggle("lost", Boolean(lost));
  };
  const poll = async () => {
    try {
      const answer = await fetch(`data.json${location.search}`, { headers: seen ? { "If-None-Match": seen } : {}, cache: "no-store" });
      if (!answer.ok && answer.status !== 304) throw new Error(answer.statusText);
      if (answer.status === 200) {
        seen = answer.headers.get("ETag");
        const at = scrollY;
        data = { ...(await answer.json()), live: true };
        build();
        scrollTo(0, at);
      }
      say(data.running ? "live" : "ended");
      if (!data.running) return;
    } catch {
      say("connection lost", true);
    }
    setTimeout(poll, 3000);
  };
  say("live");
  setTimeout(poll, 3000);
}
