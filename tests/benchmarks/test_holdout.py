"""The run with another root seed: which configs it takes, what stops it, and that its table is added to."""

import json

import pytest
from finished_folders import finished

from benchmarks import holdout, seeds
from experiments.runner import catalog
from experiments.runner.catalog import Entry
from experiments.runner.checkout import SOURCE

KNOWN = {
    "short": Entry("short", "", times={"cpu": "20 s"}, seconds={"cpu": 20.0}),
    "long": Entry("long", "", times={"cpu": "32 min"}, seconds={"cpu": 1920.0}),
    "unknown": Entry("unknown", "", times={"cpu": "unknown"}),
}


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The command without real configs or runs: what it is asked to run is listed, and ends with ``codes``."""
    ran, codes = [], {}

    def run(name, profile, folder, *words):
        assert (profile, words) == ("cpu", ("--config.seed=1",))
        ran.append(name)
        if not codes.get(name) and not folder.exists():
            finished(folder, seed=1)
        return codes.get(name, 0)

    monkeypatch.setattr(holdout, "run_config", run)
    monkeypatch.setattr(holdout, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(holdout, "SOURCE", tmp_path)
    monkeypatch.setattr(catalog, "entries", lambda source: list(KNOWN.values()))
    finished(tmp_path / "figures" / "short")

    def command(*words):
        ran.clear()
        return holdout.main([*words, "--workdir", str(tmp_path / "runs")]), list(ran)

    command.codes, command.results = codes, tmp_path / "results"
    return command


def test_configs_of_known_short_time_run_and_others_when_named(fake):
    assert fake() == (0, ["short"])
    assert fake("--minutes", "40") == (0, ["short", "long"])
    assert fake("--only", "unknown", "long") == (0, ["unknown", "long"])


def test_rows_of_other_configs_stay(fake):
    fake()
    fake("--only", "long")
    kept = json.loads((fake.results / "holdout.json").read_text())
    rows, about = seeds.from_plain(kept["claims"]), kept["about"]
    assert {row.config for row in rows} == {"short", "long"}
    assert about["seconds"] == {"short": 3, "long": 3}
    assert about["left_out"] == {"unknown": "unknown"}
    before = (fake.results / "holdout.md").read_text()
    fake()
    assert (fake.results / "holdout.md").read_text() == before


def test_a_config_that_no_json_was_published_of_has_no_pair(fake):
    fake("--only", "long")
    rows = seeds.from_plain(json.loads((fake.results / "holdout.json").read_text())["claims"])
    assert {row.part for row in rows} == {"single"}
    assert {row.measured[0] for row in rows} == {None}


def test_a_stop_ends_the_command_and_a_refusal_does_not(fake, capsys):
    fake.codes["short"] = 75
    assert fake("--minutes", "40") == (75, ["short"])
    assert "the same command resumes" in capsys.readouterr().out
    fake.codes["short"] = 2
    assert fake("--minutes", "40") == (2, ["short", "long"])
    assert "short: did not run (exit code 2)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"about": {}}', '{"about": {"seconds": {}}, "claims": [{"config": "a"}]}']
)
def test_a_damaged_table_is_left_and_named(fake, capsys, text):
    fake.results.mkdir()
    (fake.results / "holdout.json").write_text(text)
    assert fake() == (2, ["short"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "holdout.json: is damaged" in line
    assert "restore it, or delete it" in line
    assert (fake.results / "holdout.json").read_text() == text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--only", "shrt"), "--only shrt: there is no config of this name; did you mean short?"),
        (("--minutes", "0"), "--minutes 0: must be positive"),
        (("--minutes", "nan"), "--minutes nan: must be positive"),
    ],
)
def test_bad_input_is_a_line_and_runs_nothing(fake, capsys, words, line):
    assert fake(*words) == (2, [])
    assert capsys.readouterr().err == line + "\n"


def test_the_committed_table_is_that_of_its_claims():
    page = json.loads((holdout.RESULTS / "holdout.json").read_text())
    rows = seeds.from_plain(page["claims"])
    assert (page["title"], page["introduction"]) == seeds.described(rows, page["about"])
    assert [table["rows"] for table in page["tables"]] == [table.rows for table in seeds.tables(rows)]
    assert page["about"]["seed"] == 1
    assert "benchmarks.holdout" in (SOURCE / "Makefile").read_text()
