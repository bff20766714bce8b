"""Our requests are those of the installed wandb; these tests fail if its protocol changes."""

import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from wandbsweep.controllers.hosted import queries
from wandbsweep.controllers.hosted.doctor import WANDB_KNOWN

ROOT = Path(__file__).parents[2]
SOURCES = (Path(find_spec("wandb").origin).parent / "apis").rglob("*.py")
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted(SOURCES))
CHANGED = (
    f"wandb {version('wandb')} speaks another protocol than queries.py, which knows that of "
    f"{'.'.join(map(str, WANDB_KNOWN))}: compare its mutations and queries, then the pin in pyproject.toml"
)


def parse_document(document):
    """Return kind, name, variables with types, field and arguments of a GraphQL document, whatever its layout."""
    text = re.sub(r"[{]{2}", "{", re.sub(r"[}]{2}", "}", document))
    kind, name = re.search(r"(query|mutation)\s+(\w+)", text).groups()
    variables = dict(re.findall(r"\$(\w+)\s*:\s*([\[\]\w!]+)", text))
    field = re.search(r"\{\s*(\w+)\s*\(", text[text.index(name) :])[1]
    passed = set(re.findall(r"(\w+)\s*:\s*\$(\w+)", text))
    return kind, name, variables, field, passed


def find_document(name):
    """The document of that name in wandb's source text."""
    found = re.search(rf"(?:query|mutation)\s+{name}\b.*?(?:\"\"\"|\Z)", TEXT, re.DOTALL)
    assert found, CHANGED
    return found[0]


@pytest.mark.parametrize("document", [queries.CREATE_AGENT, queries.HEARTBEAT, queries.SWEEP])
def test_our_documents_are_wandbs(document):
    ours, theirs = parse_document(document), parse_document(find_document(parse_document(document)[1]))
    assert ours == theirs, CHANGED


@pytest.mark.parametrize("document", [queries.RUNS, queries.AGENT_RUNS])
def test_our_queries_ask_for_less_than_wandbs(document):
    ours, theirs = parse_document(document), parse_document(find_document(parse_document(document)[1]))
    assert ours[:2] == theirs[:2]
    assert ours[2].items() <= theirs[2].items(), CHANGED
    assert ours[4] <= theirs[4], CHANGED


def test_heartbeats_send_their_states_as_json_text(server):
    assert re.search(r'"runState": json\.dumps\(', TEXT), CHANGED
    assert re.search(r'json\.loads\(response\["agentHeartbeat"\]\["commands"\]\)', TEXT), CHANGED


def test_the_version_is_pinned():
    assert tuple(map(int, version("wandb").split(".")[:2])) == WANDB_KNOWN, CHANGED
    low, high = WANDB_KNOWN
    wanted = f'"wandb>={low}.{high},<{low}.{high + 1}"'
    assert wanted in (ROOT / "pyproject.toml").read_text(encoding="utf-8"), f"pyproject.toml must pin {wanted}"


def test_nothing_imports_wandbs_private_modules():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests" / "hosted").glob("*.py")]
    private = re.compile(r"^\s*(?:from|import)\s+wandb\.(?!errors\b)\w", re.MULTILINE)
    assert [file.name for file in files if private.search(file.read_text(encoding="utf-8"))] == []
