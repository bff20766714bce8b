"""The report in a real browser."""

from __future__ import annotations

import csv
import random
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.browser.page import Page
from tests.configurations import GRID, UNIT
from tests.results.sweeps import CONDITIONAL, TRADE_OFF, TRAINING, plant_sweep, train_sweep
from wandbsweep import Outcome, create_sweep, load_sweep, open_sweep
from wandbsweep.results.report import data as data_module
from wandbsweep.results.report import page as page_module
from wandbsweep.results.report.page import write_report
from wandbsweep.results.report.panels import PANELS, Panel
from wandbsweep.results.report.serve import ReportServer

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("browser") / "abcd1234"
    config = TRAINING | {"early_terminate": {"type": "hyperband", "min_iter": 3}}
    return train_sweep(directory, config, 60, fail={7, 30}, odd={11})


@pytest.fixture(scope="session")
def report(sweep) -> Path:
    return write_report(sweep, sweep.directory / "report.html")


def test_all_parts_are_there_and_nothing_leaves_the_page(page: Page, report: Path) -> None:
    page.open(report)
    titles = page.list_texts("section:not([hidden]) h2")
    named = [title for title in titles if title != "The best trial"]
    assert named == [
        "Health checks",
        "Parallel coordinates",
        "Leaderboard",
        "Optimisation history",
        "Learning curves",
        "What matters",
        "Partial dependence",
        "Two parameters together",
        "Agents over time",
        "Failed trials",
        "How it was made",
    ]
    assert page.list_texts("#nav a") == named
    assert str(report.parent) in page.list_texts("#foot")[0]
    page.save_screenshot("report-light")
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    assert page.it.evaluate("document.documentElement.scrollWidth") == 1280


COUNT_DRAWINGS = """
window.drawings = 0;
const clearRect = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...area) {
  window.drawings += 1;
  return clearRect.apply(this, area);
};
"""


def test_many_trials_cost_few_elements_and_one_drawing_each(page: Page, sweep, tmp_path: Path) -> None:
    """1,000 trials with curves of 100 steps, noise added so that no two are equal."""
    chance = random.Random(0)
    trials = []
    for number in range(1000):
        trial = sweep.trials[number % 60]
        curve = {step: (trial.value or 2.0) + 1.5 / (step + 1) + chance.random() / 50 for step in range(100)}
        trials.append(replace(trial, number=number, reports=curve, value=min(curve.values())))
    file = write_report(replace(sweep, trials=trials), tmp_path / "report.html")
    assert file.stat().st_size < 6_000_000
    page.it.add_init_script(COUNT_DRAWINGS)
    page.open(file)
    page.it.wait_for_timeout(500)  # a second drawing would come with the next frames
    assert page.it.evaluate("drawings") == page.it.locator(".plot canvas").count() == 11
    assert page.it.locator("#board tbody tr").count() == 15
    assert page.it.evaluate("document.querySelectorAll('*').length") < 1500  # marks are drawn on canvases
    page.save_screenshot("report-1000-trials")


def test_a_new_panel_takes_one_script_and_one_entry(page: Page, sweep, tmp_path: Path, monkeypatch) -> None:
    script = """
addPanel({
  id: "toy",
  parts: [makeHeading("A toy"), el("p", { id: "toy-text" })],
  draw() {
    $("toy-text").textContent = `${data.toy} trials`;
  },
});
"""
    panel = Panel("toy.js", {"toy": lambda data: len(data.trials)})
    read_part = page_module._read_part
    monkeypatch.setattr(data_module, "PANELS", [*PANELS, panel])
    monkeypatch.setattr(page_module, "SCRIPTS", [*page_module.SCRIPTS[:-1], panel.script, "main.js"])
    monkeypatch.setattr(page_module, "_read_part", lambda name: script if name == panel.script else read_part(name))
    page_module._join_scripts.cache_clear()
    try:
        page.open(write_report(sweep, tmp_path / "report.html"))
    finally:
        page_module._join_scripts.cache_clear()
    assert page.list_texts("#nav a")[-1] == "A toy"
    assert page.list_texts("#toy h2, #toy p") == ["A toy", "60 trials"]


def test_brushing_filters_the_table(page: Page, report: Path, sweep) -> None:
    page.open(report)
    page.drag("optimizer.lr", 0.5, 0.75)  # 1e-3 to 1e-2 of 1e-5 to 1e-1
    wanted = {t.number for t in sweep.trials if 1e-3 <= t.params["optimizer.lr"] <= 1e-2}
    page.it.locator("#more button").click() if page.it.locator("#more button").count() else None
    shown = set(map(int, page.read_column("trial")))
    assert len(shown ^ wanted) <= 1  # a pixel is a thousandth of the range
    assert 0 < len(shown) < 60
    assert page.list_texts("#kept") == [f"{len(shown)} of 60 trials"]
    page.drag("model", -0.02, 0.2)  # the first value
    assert set(page.read_column("model")) == {"mlp"}
    page.save_screenshot("report-brushed")
    page.it.locator("#clear").click()
    assert page.list_texts("#kept") == [""]
    assert "60 trials" in page.list_texts("#more")[0]


def test_a_click_on_an_axis_lets_its_range_go(page: Page, report: Path) -> None:
    page.open(report)
    page.drag("optimizer.lr", 0.5, 0.75)
    page.it.locator('rect[data-axis="optimizer.lr"]').click()
    assert page.list_texts("#kept") == [""]


def test_sorting(page: Page, report: Path, sweep) -> None:
    page.open(report)
    best = [str(trial.number) for trial in sweep.ranked[:5]]
    assert page.read_column("trial")[:5] == best
    header = page.find_header("lr")
    header.click()
    rates = [float(text) for text in page.read_column("lr")]
    assert rates == sorted(rates)
    assert page.it.locator("th[aria-sort=ascending]").inner_text().startswith("lr")
    header.click()
    rates = [float(text) for text in page.read_column("lr")]
    assert rates == sorted(rates, reverse=True)
    header.click()  # and as it was
    assert page.read_column("trial")[:5] == best
    page.find_header("batch_size").click()
    sizes = [int(text) for text in page.read_column("batch_size")]
    assert sizes == sorted(sizes)  # as numbers, not as text: 128 is last
    assert sizes[0] == 16


@pytest.mark.parametrize(
    ("query", "keeps"),
    [
        ("resnet", lambda t: t.params["model"] == "resnet"),
        ("state:failed", lambda t: t.state == "failed"),
        ("lr<0.001", lambda t: t.params["optimizer.lr"] < 0.001),
        ("batch_size=16 model:mlp", lambda t: t.params["data.batch_size"] == 16 and t.params["model"] == "mlp"),
        ("trial=7", lambda t: t.number == 7),
        ("nothing of the kind", lambda t: False),
    ],
)
def test_filtering(page: Page, report: Path, sweep, query: str, keeps) -> None:
    page.open(report)
    page.it.locator("#query").fill(query)
    if (more := page.it.locator("#more button")).count():
        more.click()
    assert set(map(int, page.read_column("trial"))) == {t.number for t in sweep.trials if keeps(t)}


def test_hovering_a_trial_lights_it_up_everywhere(page: Page, report: Path) -> None:
    page.open(report)
    page.it.locator("#board tbody tr").nth(1).hover()
    for chart in ("parallel", "progress", "learning", "effects", "contour", "timeline"):
        assert page.it.locator(f"#{chart} svg > g.lit > *").count() >= 1, chart
    page.it.locator("#board tbody tr").nth(1).click()
    page.it.mouse.move(5, 5)
    assert page.it.locator("#progress svg > g.lit > *").count() == 1  # pinned
    assert page.it.locator("#board tr.pinned").count() == 1
    page.save_screenshot("report-pinned")


def test_a_click_opens_a_trial(page: Page, report: Path, sweep) -> None:
    page.open(report)
    page.it.locator("#query").fill("state:failed")
    page.it.locator("#board tbody tr").first.click()
    shown = page.it.locator("#trial").inner_text()
    number = int(page.list_texts("#trial h2")[0].split()[1])
    assert sweep.trials[number].state == "failed"
    for text in ("Differs from the best", f"{sweep.directory}/{number}", "Traceback:", "agent ", "out of <memory>"):
        assert text in shown, text
    page.it.get_by_label("The next better trial").click()
    better = sweep.ranked[sweep.ranked.index(sweep.trials[number]) - 1]
    assert int(page.list_texts("#trial h2")[0].split()[1]) == better.number
    page.it.keyboard.press("Escape")
    assert page.list_texts("#trial h2") == []
    page.it.locator("#best button.link").click()
    assert f"{sweep.best.value:.4f}"[:5] in page.it.locator("#trial").inner_text()
    assert page.it.locator("#trial .plot path").count() == 1  # its curve
    page.it.locator("#trial select").select_option("val/accuracy")
    assert "val/accuracy" in page.list_labels("#trial .plot text.name")


def test_axes_are_hidden_moved_and_switched(page: Page, report: Path) -> None:
    page.open(report)
    names = page.list_labels("#parallel text.grip")
    page.it.locator('[data-tool="hide model"]').click()
    assert page.list_labels("#parallel text.grip") == [name for name in names if name != "model"]
    page.it.locator("#ramp button", has_text="+ model").click()
    assert page.list_labels("#parallel text.grip") == names
    page.it.locator('[data-tool="linear optimizer.lr"]').click()
    assert page.it.locator('[data-tool="log optimizer.lr"]').count() == 1
    first, second = (page.it.locator("#parallel text.grip").nth(i).bounding_box() for i in (0, 2))
    page.it.mouse.move(first["x"] + 10, first["y"] + 5)
    page.it.mouse.down()
    page.it.mouse.move(second["x"] + second["width"] / 2, second["y"] + 5, steps=3)
    page.it.mouse.up()
    assert page.list_labels("#parallel text.grip")[:3] == [names[1], names[2], names[0]]
    page.it.locator("[data-state=stopped]").click()
    assert "stopped" not in page.read_column("state")


def test_curves_of_any_metric_and_a_table_to_download(page: Page, report: Path, sweep) -> None:
    page.open(report)
    page.it.locator("#curve-tools select").select_option("val/accuracy")
    page.it.locator("#curve-tools button", has_text="time on x").click()
    page.it.locator("#curve-tools button", has_text="log y").click()
    page.it.locator("#curve-tools input").fill("0.9")
    assert set(page.list_labels("#learning text.name")) == {"val/accuracy", "seconds of work"}
    with page.it.expect_download() as download:
        page.it.locator("#csv").click()
    with open(download.value.path()) as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [trial.number for trial in sweep.ranked]
    assert float(rows[0]["optimizer.lr"]) == pytest.approx(sweep.ranked[0].params["optimizer.lr"])
    assert int(rows[0]["at step"]) == sweep.find_step(sweep.best)


def test_hovering_a_mark_lights_its_row_and_says_what_it_is(page: Page, report: Path, sweep) -> None:
    page.open(report)
    page.it.locator("#progress").scroll_into_view_if_needed()
    box = page.it.locator("#progress").bounding_box()
    for x in range(70, int(box["width"]), 8):  # along the best so far there are marks
        page.it.mouse.move(box["x"] + x, box["y"] + box["height"] - 50)
        if page.it.locator("#tip:visible").count():
            break
    assert page.list_texts("#tip b")[0].startswith("Trial ")
    assert page.it.locator("#progress svg > g.lit > *").count() == 1


@pytest.mark.parametrize("page", [{"color_scheme": "dark"}], indirect=True)
def test_dark_mode(page: Page, report: Path) -> None:
    page.open(report)
    assert lightness(page) < 60
    page.save_screenshot("report-dark")
    toggle = page.it.locator("#theme")
    toggle.click()  # auto → light
    assert lightness(page) > 200
    page.it.reload()  # and it stays
    page.it.wait_for_selector("html[data-ready]")
    assert lightness(page) > 200
    toggle.click()
    assert lightness(page) < 60


def lightness(page: Page) -> float:
    colour = page.it.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour[4:-1].split(",")) / 3


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_on_a_phone(page: Page, report: Path) -> None:
    page.open(report)
    assert page.it.evaluate("document.documentElement.scrollWidth") == 390
    sizes = page.it.evaluate(
        "[...document.querySelectorAll('p, td, li, .plot text, dd')].filter(e => e.textContent.trim())"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 11
    page.save_screenshot("report-phone")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Page, report: Path, scheme: str) -> None:
    """WCAG's contrast of 4.5 between text and what it stands on."""
    page.it.emulate_media(color_scheme=scheme)
    page.open(report)
    found = page.it.evaluate(CONTRASTS)
    assert len(found) > 50
    assert [text for text, contrast in found if contrast < 4.5] == []


CONTRASTS = """() => {
  const part = c => (c /= 255, c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const parsed = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const [r, g, b, a = 1] = parsed(getComputedStyle(node).backgroundColor);
      if (a > 0.5) return [r, g, b];
    }
  };
  const parts = "p, h1, h2, h3, td, th button, li, dt, dd, .chip span";
  return [...document.querySelector('main').querySelectorAll(parts)]
    .filter(e => e.offsetParent && e.textContent.trim())
    .map(e => {
      const [a, b] = [luminance(parsed(getComputedStyle(e).color)), luminance(ground(e))];
      return [e.textContent.trim().slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


@pytest.mark.parametrize("page", [{"color_scheme": "dark"}], indirect=True)
def test_printed(page: Page, report: Path) -> None:
    """On white paper, from a dark screen too."""
    page.open(report)
    page.it.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.it.emulate_media(media="print")
    assert lightness(page) == 255
    assert not page.it.locator("#theme").is_visible()
    assert page.find_header("lr").is_visible()
    page.save_screenshot("report-print")
    assert page.it.pdf().startswith(b"%PDF")
    page.it.evaluate("dispatchEvent(new Event('afterprint'))")
    page.it.emulate_media(media="screen")
    assert lightness(page) < 60


HOSTILE = "<script>alert(1)</script>"


def test_what_looks_like_markup_is_text(page: Page, tmp_path: Path) -> None:
    space = {"a.b": {"values": [HOSTILE, "</script><img src=x onerror=alert(2)>", "ok"]}, "x": UNIT}
    config = {
        "method": "random",
        "metric": {"name": HOSTILE},
        "parameters": space,
        "name": "<b>bold</b>",
        "description": "<!-- & &lt; \u2028",
        "run_cap": 6,
    }
    controller = create_sweep(load_sweep(config), tmp_path, seed=1)
    for number in range(6):
        trial = controller.ask("<i>agent</i>")
        controller.report(trial, 0, {HOSTILE: trial.params["x"], "<u>": 1.0})
        failed = Outcome.failed("</summary><script>alert(3)</script>")
        controller.complete(trial, failed if number == 3 else Outcome.finished())
    dialogs: list[str] = []
    page.it.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.open(write_report(open_sweep(tmp_path), tmp_path / "report.html"))
    assert dialogs == []
    assert page.it.locator("body script").count() == 2  # the data, and the page's own
    assert page.it.locator("main img, main b script, main i").filter(has_text="agent").count() == 0
    assert page.list_texts("h1") == ["<b>bold</b>"]
    assert HOSTILE in page.read_column("b")
    assert HOSTILE in page.list_texts("#board th button")
    page.save_screenshot("report-hostile")


def _unstarted(directory: Path):
    create_sweep(load_sweep(TRAINING | {"run_cap": 5}), directory, seed=0)
    return open_sweep(directory)


def _only_failures(directory: Path):
    return train_sweep(directory, TRAINING, 4, fail=set(range(4)))


def _no_numbers(directory: Path):
    return train_sweep(directory, TRAINING, 3, steps=2, odd=set(range(3)))


def _categorical(directory: Path):
    space = {"a": {"values": ["x", "y", None]}, "b": {"values": [True, False]}}
    return plant_sweep(directory, space, lambda p: str(p).count("e") + len(str(p)), 6, method="grid")


def _pareto(directory: Path):
    controller = create_sweep(load_sweep(TRADE_OFF | {"run_cap": 25}), directory, seed=0)
    for _ in range(25):
        trial = controller.ask("0")
        x = trial.params["x"]
        controller.report(trial, 0, {"loss": x * x, "size": (1 - x) ** 2 + trial.params["y"] * 0.1})
        controller.complete(trial, Outcome.finished())
    return open_sweep(directory)


def _repeats(directory: Path):
    repeats = {"parameter": "seed", "values": [0, 1, 2]}
    return plant_sweep(directory, {"x": UNIT}, lambda p: p["x"] + p["seed"] / 50, 18, repeats=repeats)


def _conditional(directory: Path):
    return plant_sweep(directory, CONDITIONAL, lambda p: p["lr"] + p.get("momentum", 0.5), 30)


def _running(directory: Path):
    controller = create_sweep(load_sweep(TRAINING | {"run_cap": 9}), directory, seed=0)
    for _ in range(3):
        controller.report(controller.ask("0"), 0, {"val/loss": 1.0})
    controller.release(controller.ask("1"), "preempted")
    return open_sweep(directory)


def _no_metric(directory: Path):
    controller = create_sweep(load_sweep(GRID), directory)
    for value in (1.0, 2.0, 3.0):
        controller.complete(controller.ask("0"), Outcome.finished(value))
    return open_sweep(directory)


def _diverged(directory: Path):
    return plant_sweep(directory, {"x": UNIT}, lambda p: 1e9 if p["x"] > 0.9 else p["x"], 30)


def _one(directory: Path):
    return plant_sweep(directory, {"x": UNIT}, lambda p: p["x"], 1)


KINDS = {
    "unstarted": _unstarted,
    "one-trial": _one,
    "only-failures": _only_failures,
    "no-numbers": _no_numbers,
    "categorical": _categorical,
    "pareto": _pareto,
    "repeats": _repeats,
    "conditional": _conditional,
    "running": _running,
    "no-metric": _no_metric,
    "diverged": _diverged,
}


@pytest.mark.parametrize("kind", KINDS)
def test_sweeps_of_every_kind(page: Page, tmp_path: Path, kind: str) -> None:
    results = KINDS[kind](tmp_path / kind)
    page.open(write_report(results, tmp_path / "report.html"))
    assert kind in page.it.title()
    assert "NaN" not in page.it.locator("body").inner_text().replace("no-numbers", "")
    assert not re.search(r"\bundefined\b|^null$", page.it.locator("body").inner_text(), re.MULTILINE)
    assert page.it.locator("main [d*=NaN], main [x*=NaN], main [y*=NaN], main [cx*=NaN]").count() == 0
    page.save_screenshot(f"report-{kind}")


def test_a_live_page_follows_its_sweep(page: Page, tmp_path: Path) -> None:
    controller = create_sweep(load_sweep(TRAINING | {"run_cap": 2}), tmp_path / "live", seed=0)
    first, second = controller.ask("0"), controller.ask("0")
    controller.report(first, 0, {"val/loss": 0.5})
    server = ReportServer(str(tmp_path / "live"), "127.0.0.1", 0, None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        page.open(f"http://127.0.0.1:{server.server_port}/")
        assert page.list_texts("#live") == ["live"]
        controller.complete(first, Outcome.finished())
        controller.report(second, 0, {"val/loss": 0.25})
        controller.complete(second, Outcome.finished())
        page.it.locator(".tile .big", has_text=re.compile(r"^0\.25$")).wait_for()
        page.it.locator("#live", has_text="ended").wait_for()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert {url.split("?")[0].rsplit("/", 1)[1] for url in page.requests if url.startswith("http")} == {"", "data.json"}


def test_infeasible_trials_come_last_and_say_why(page: Page, tmp_path: Path) -> None:
    metric = {"name": "loss", "constraints": {"memory": {"max": 40}}}
    config = {"method": "random", "metric": metric, "parameters": {"x": UNIT}}
    controller = create_sweep(load_sweep(config), tmp_path / "s", seed=0)
    for loss, memory in ((0.3, 30.0), (0.1, 41.0), (0.2, 39.0)):
        trial = controller.ask("a")
        controller.report(trial, 0, {"loss": loss, "memory": memory})
        controller.complete(trial, Outcome.finished())
    page.open(write_report(open_sweep(tmp_path / "s"), tmp_path / "report.html"))
    assert page.read_column("trial") == ["2", "0", "1"]
    assert page.read_column("state")[-1].endswith("finished, infeasible")
    assert "trial 2" in " ".join(page.list_texts("#best")).lower()
    page.it.locator("#board tbody tr").last.click()
    page.it.get_by_text("Infeasible: memory 41 is above 40").first.wait_for()
    assert page.complaints == []
