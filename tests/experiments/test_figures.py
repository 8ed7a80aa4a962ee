"""The command that runs and publishes every config: what it takes, what stops it, and that it resumes."""

import os
import shutil
import sys

import pytest
from liveness import finish
from source_tree import ROOT

from experiments import figures, published
from experiments.runner import catalog
from experiments.runner.catalog import Entry

KNOWN = {
    "first": Entry("first", "", times={"smoke": "20 s", "cpu": "2 min"}),
    "second": Entry("second", "", times={"smoke": "20 s", "cpu": "1 h"}),
    "third": Entry("third", "", times={"cpu": "1 h"}),
}


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The command without real configs or runs: what it is asked to run is listed, and ends with ``codes``."""
    ran, codes = [], {}

    def run(name, profile, folder, *words):
        ran.append((name, profile, folder.relative_to(tmp_path).as_posix(), *words))
        return codes.get(name, 0)

    monkeypatch.setattr(figures, "run_config", run)
    monkeypatch.setattr(figures, "SOURCE", tmp_path)
    monkeypatch.setattr(catalog, "entries", lambda source: list(KNOWN.values()))
    for folder in ("figures", "configs"):
        (tmp_path / folder).mkdir()

    def command(*words):
        ran.clear()
        return figures.main([*words, "--workdir", str(tmp_path / "runs")]), list(ran)

    command.codes, command.page = codes, tmp_path / "figures" / "README.md"
    return command


def test_every_config_is_run_and_published(fake, capsys):
    expected = [(name, "cpu", f"runs/{name}", "--publish") for name in KNOWN]
    assert fake() == (0, expected)
    assert "3 of 3 configs published in 1 s; wrote figures/README.md" in capsys.readouterr().out
    assert fake.page.read_text().startswith("# What is published")


def test_a_smoke_profile_is_drawn_and_not_published(fake, capsys):
    assert fake("--only", "second", "--profile", "smoke") == (0, [("second", "smoke", "runs/second_smoke")])
    assert "1 of 1 configs drawn in 1 s below " in (said := capsys.readouterr().out)
    assert said.endswith("; a smoke profile is not published\n")
    assert [name for name, *_ in fake("--profile", "smoke")[1]] == ["first", "second"]
    assert not fake.page.exists()


def test_output_without_room_ends_the_command_before_a_run(fake, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))  # noqa: SIM115 (the command leaves it unusable)
    assert fake() == (75, [])
    assert capsys.readouterr().err == "standard output: No space left on device\n"


def test_a_config_that_fails_does_not_stop_the_others(fake, capsys):
    fake.codes["first"] = 70
    code, ran = fake()
    assert (code, len(ran)) == (2, 3)
    out, err = capsys.readouterr()
    assert "2 of 3 configs published" in out
    assert err == "first: did not run (exit code 70)\n"


def test_a_stop_ends_the_command(fake, capsys):
    fake.codes["second"] = 75
    code, ran = fake()
    assert (code, len(ran)) == (75, 2)
    assert "the same command resumes" in capsys.readouterr().out
    assert not fake.page.exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--only", "secnd"), "--only secnd: there is no config of this name; did you mean second?"),
        (("--profile", "smok"), "--profile smok: no config has it; did you mean smoke?"),
        (("--only", "third", "--profile", "smoke"), "--only third: has no profile smoke"),
    ],
)
def test_bad_input_is_a_line_and_runs_nothing(fake, capsys, words, line):
    assert fake(*words) == (2, [])
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.slow
def test_real_runs_are_published_and_then_drawn_again(tmp_path):
    for name in ("experiments", "lawlib", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "figures").mkdir()
    for name in ("dln_momentum", "jumps_periodic"):  # a smoke profile would not be published
        config = tmp_path / "configs" / f"{name}.py"
        config.write_text(config.read_text().replace('"smoke": ', '"short": '))
    command = [sys.executable, "-m", "experiments.figures", "--only", "dln_momentum", "jumps_periodic"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"}

    def run():
        return finish([*command, "--profile", "short"], cwd=tmp_path, env=environment)

    assert (done := run()).returncode == 0, done.stderr
    assert published.names(tmp_path) == ["dln_momentum_short", "jumps_periodic_short"]
    assert published.pictures("jumps_periodic_short", tmp_path) == ["periodic"]
    page = (tmp_path / "figures" / "README.md").read_text()
    assert "| [`dln_momentum_short`](dln_momentum_short) |" in page
    results = tmp_path / "runs" / "figures" / "dln_momentum_short" / "results.nc"
    before = results.stat().st_mtime_ns
    (tmp_path / "figures" / "dln_momentum_short" / "claims.md").unlink()
    assert run().returncode == 0
    assert results.stat().st_mtime_ns == before
    assert (tmp_path / "figures" / "dln_momentum_short" / "claims.md").exists()
