"""The report without a browser: one file, in which nothing runs but its own script; and the live page's server."""

from __future__ import annotations

import json
import re
import threading
from http.client import HTTPConnection
from importlib.resources import files

import pytest

from tests.results.sweeps import TRAINING, plant_sweep, train_sweep
from wandbsweep import Outcome, SweepError, create_sweep, load_sweep, open_sweep
from wandbsweep.results.report.data import build_page_data
from wandbsweep.results.report.page import SCRIPTS, encode_for_script, render_page, write_report
from wandbsweep.results.report.panels import PANELS, list_attempt_rows
from wandbsweep.results.report.serve import ReportServer, needs_token
from wandbsweep.results.sweep_data import SweepData


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return train_sweep(tmp_path_factory.mktemp("report") / "abcd1234", TRAINING, 25, fail={3}, odd={4})


def data_in(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_one_file_that_names_no_address(results, tmp_path):
    text = write_report(results, tmp_path / "report.html").read_text()
    own = re.sub(r'id="data">.*?</script>', "", text, flags=re.DOTALL).replace("http://www.w3.org/2000/svg", "")
    assert "://" not in own
    assert not re.search(r"@import|url\(|<link [^>]*href=\"(?!data:)", own)
    assert "default-src &#x27;none&#x27;" in text
    assert "connect-src &#x27;none&#x27;" in text


def test_every_panel_has_one_script_and_its_data(results):
    page_data = build_page_data(results)
    assert {key for panel in PANELS for key in panel.data} <= page_data.keys()
    parts = files("wandbsweep.results.report")
    for panel in PANELS:
        assert parts.joinpath(panel.script).read_text().count("\naddPanel({") == 1


def test_all_its_scripts_are_used_and_small():
    parts = files("wandbsweep.results.report")
    there = {part.name for part in parts.iterdir() if part.name.endswith(".js")}
    assert there == set(SCRIPTS)
    assert all(len(parts.joinpath(name).read_text().splitlines()) < 300 for name in there)


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "&lt;", "\u2028", "\ud800", 'a"b\\c', "{{style}}"])
def test_any_text_stays_text(text):
    data = encode_for_script({"a": text})
    assert not set("<>&") & set(data)
    assert json.loads(data)["a"] == text.encode("utf-8", "replace").decode()


def test_braces_in_the_data_are_no_part_of_the_page(results):
    page = render_page({**build_page_data(results), "name": "{{script}}", "sweep_id": "{{style}}"})
    assert data_in(page)["name"] == "{{script}}"
    assert "<title>Sweep {{style}}</title>" in page


def test_the_data(results):
    data = build_page_data(results)
    assert json.loads(json.dumps(data, allow_nan=False)) is not None
    assert [trial["n"] for trial in data["trials"]] == list(range(25))
    assert data["failures"][0]["text"].startswith("Traceback:")
    assert data["best"][0]["n"] == results.best.number
    assert data["trials"][4]["curve"][1][:2] == [None, None]
    assert data["versions"]["noted"] == "report"
    assert {axis["name"]: axis["kind"] for axis in data["parameters"]} == {
        "optimizer.lr": "log",
        "optimizer.weight_decay": "log",
        "model": "list",
        "data.batch_size": "list",
        "scheduler.warmup_steps": "linear",
        "model.dropout": "linear",
    }


def test_long_curves_are_thinned_out(tmp_path):
    controller = create_sweep(load_sweep(TRAINING | {"run_cap": 2}), tmp_path, seed=0)
    trial = controller.ask("a")
    for step in range(500):
        controller.report(trial, step, {"val/loss": 1 / (step + 1)})
    controller.complete(trial, Outcome.finished())
    results = open_sweep(tmp_path)
    data = build_page_data(SweepData(results.directory, results.spec, list(results.trials) * 1000))
    steps, values = data["trials"][0]["curve"]
    assert data["thinned"]
    assert len(steps) == len(values) == 120
    assert (steps[0], steps[-1]) == (0, 499)


def test_versions_of_the_start_count_where_they_are_known(tmp_path):
    results = plant_sweep(tmp_path, {"x": {"min": 0.0, "max": 1.0}}, lambda p: p["x"], 1)
    (tmp_path / ".sweep").mkdir(exist_ok=True)
    (tmp_path / ".sweep" / "versions.json").write_text('{"python": "3.99", "commit": "abc"}')
    assert build_page_data(results)["versions"] == {"python": "3.99", "commit": "abc", "noted": "start"}


def test_attempts(tmp_path):
    controller = create_sweep(load_sweep(TRAINING | {"run_cap": 2}), tmp_path, seed=0)
    controller.release(controller.ask("first"), "preempted")
    trial = controller.ask("second")
    controller.report(trial, 0, {"val/loss": 1.0})
    controller.complete(trial, Outcome.finished())
    controller.ask("second")
    found = list_attempt_rows(open_sweep(tmp_path))
    assert [(agent, number, attempt, state) for agent, number, attempt, _, _, state, _ in found] == [
        ("first", 0, 1, "queued"),
        ("second", 0, 2, "finished"),
        ("second", 1, 1, "running"),
    ]
    started, ended = ([row[column] for row in found] for column in (3, 4))
    assert started[0] == 0.0 <= ended[0] <= started[1]
    assert ended[2] is None


class TestServer:
    @pytest.fixture
    def ask(self, results):
        """Serves with a token, or none; gives status, headers and body of a request."""
        servers = []

        def serving(token=None):
            server = ReportServer(str(results.directory), "127.0.0.1", 0, token)
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            servers.append((server, thread))

            def ask(path, **headers):
                connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
                connection.request("GET", path, headers={name.replace("_", "-"): v for name, v in headers.items()})
                answer = connection.getresponse()
                body = answer.read().decode()
                connection.close()
                return answer.status, answer.headers, body

            return ask

        yield serving
        for server, thread in servers:
            server.shutdown()
            server.server_close()
            thread.join()

    def test_the_page_and_its_data(self, ask):
        get = ask()
        status, headers, page = get("/")
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert data_in(page)["live"] is True
        assert "connect-src &#x27;self&#x27;" in page
        status, headers, body = get("/data.json")
        assert (status, len(json.loads(body)["trials"])) == (200, 25)
        assert get("/data.json", If_None_Match=headers["ETag"])[0] == 304
        assert get("/etc/passwd")[0] == get("/../journal.log")[0] == 404

    def test_another_name_for_this_machine_is_refused(self, ask):
        assert ask()("/", Host="evil.example:80")[0] == 403

    def test_a_token(self, ask):
        get = ask("secret")
        assert get("/")[0] == get("/?token=wrong")[0] == get("/data.json?token=")[0] == 403
        assert get("/?token=secret", Host="cluster.example")[0] == 200

    def test_a_port_that_is_taken(self, results):
        from wandbsweep.results.report.serve import serve

        server = ReportServer(str(results.directory), "127.0.0.1", 0, None)
        with pytest.raises(SweepError, match="Choose another address"):
            serve(str(results.directory), "127.0.0.1", server.server_port, None)
        server.server_close()

    @pytest.mark.parametrize(
        ("host", "needed"),
        [
            ("127.0.0.1", False),
            ("::1", False),
            ("localhost", False),
            ("0.0.0.0", True),
            ("10.1.2.3", True),
            ("node7", True),
        ],
    )
    def test_which_addresses_need_a_token(self, host, needed):
        assert needs_token(host) == needed
