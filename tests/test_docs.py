"""What the documents show can be run, and where they point there is something."""

import re
from pathlib import Path

import pytest
import yaml

from wandbsweep import load_sweep
from wandbsweep.spec.distributions import DISTRIBUTIONS
from wandbsweep.spec.early_termination import STOPPING_RULES
from wandbsweep.spec.load import TOP_KEYS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", "outputs", "node_modules"} & {*path.relative_to(ROOT).parts}
)
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def sweeps(page):
    texts = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [text for text in texts if re.search(r"^method:", text, re.MULTILINE)]


@pytest.mark.parametrize(
    "text",
    [pytest.param(t, id=f"{p}-{i}") for p in ("README.md", "docs/sweep-files.md") for i, t in enumerate(sweeps(p))],
)
def test_a_sweep_file_that_is_shown_loads(text, tmp_path):
    (tmp_path / "sweep.yaml").write_text(text, encoding="utf-8")
    assert load_sweep(tmp_path / "sweep.yaml") == load_sweep(yaml.safe_load(text))


def test_every_extension_is_shown():
    shown = [yaml.safe_load(text) for text in sweeps("docs/sweep-files.md")]
    assert {"prior", "repeats", "metrics"} <= {key for config in shown for key in config}
    assert any("when" in law for config in shown for law in config["parameters"].values())
    assert not {"hyperband", "auto", "median"} - {config.get("early_terminate", {}).get("type") for config in shown}


def test_the_reference_names_every_key_and_distribution():
    text = (ROOT / "docs" / "sweep-files.md").read_text(encoding="utf-8")
    missing = [name for name in (*TOP_KEYS, *DISTRIBUTIONS, *STOPPING_RULES) if not re.search(rf"\b{name}\b", text)]
    assert missing == []


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def list_training_keys():
    """Yield each key of ``conf/`` as a command names it, and the choices of each group."""
    conf = ROOT / "conf"
    for path in [conf / "config.yaml", *conf.glob("*/*.yaml")]:
        group = path.parent.name
        if group in ("sweep", "hydra"):
            continue
        if group != "conf" and path.stem != "default":
            yield path.stem
        if group == "experiment":
            continue
        text = path.read_text(encoding="utf-8")
        package = re.search(r"^# @package (\S+)", text, re.MULTILINE)
        prefix = f"{package[1] if package else group}." if group != "conf" else ""
        yield from list_keys(yaml.safe_load(text) or {}, prefix)


def list_keys(config, prefix):
    for key, value in config.items():
        if key in ("defaults", "hydra", "output_dir") or key.startswith("_") or (prefix, key) in UNSAID:
            continue
        if isinstance(value, dict):
            yield from list_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


UNSAID = {
    (f"logger.{name}.", key) for name in ("csv", "tensorboard") for key in ("name", "version", "save_dir", "metric")
}


def test_the_page_on_the_training_names_every_key_and_choice():
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    missing = [
        name for name in list_training_keys() if not re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.]*\w)", page)
    ]
    assert missing == []
