"""Runs shared by the tests of the experiments: a process takes seconds to start and longer to compile."""

import fcntl
import functools as ft
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from liveness import communicate
from matplotlib.mathtext import MathTextParser

from experiments.data import datasets
from experiments.runner.store import InputError

ROOT = Path(__file__).parents[2]

# Of the hundreds of figures that tests draw most ticks are the same powers of 10, and parsing them takes half of the
# time; matplotlib keeps fifty.
MathTextParser._parse_cached = ft.cache(MathTextParser._parse_cached.__wrapped__)


class Shell:
    """Starts ``python -m experiments.main`` in processes that share what the tests have compiled."""

    env = os.environ.copy()

    def start(self, *arguments, python=()):
        return self._start(*python, "-m", "experiments.main", *arguments)

    def program(self, text, *arguments):
        """A process of this program, to which ``sys.argv[1:]`` are the arguments."""
        return self._start("-c", text, *arguments)

    def _start(self, *words):
        command = [sys.executable, *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, env=self.env, text=True, **pipes)

    def finish(self, *arguments, python=()):
        """(exit code, stdout, stderr) of a process that runs to its end."""
        with self.start(*arguments, python=python) as process:
            try:
                out, err = communicate(process)
            finally:
                process.kill()
        return process.returncode, out, err


@pytest.fixture(scope="session")
def common(tmp_path_factory):
    """A folder of all workers of this session."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def shell():
    return Shell()


@pytest.fixture(scope="session")
def once(shell, common):
    """The folder of a finished run and what its process said, by name; each runs once, whichever worker asks first."""

    def run(name, *arguments):
        folder, outcome = common / name / "run", common / name / "outcome.json"
        outcome.parent.mkdir(exist_ok=True)
        with (common / name / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not outcome.exists():
                outcome.write_text(json.dumps(shell.finish(*arguments, f"--workdir={folder}")))
        return folder, json.loads(outcome.read_text())

    return run


@pytest.fixture(scope="session")
def smoke(once):
    """The finished smoke run of a config, by its name; not to be changed."""
    return lambda name: once(name, f"--config={ROOT / 'configs' / name}.py:smoke")


@pytest.fixture
def no_data(monkeypatch):
    """No folder of this machine, no copy in memory."""
    monkeypatch.delenv("LAWLIB_DATA", raising=False)
    datasets.image_data.cache_clear()
    yield
    datasets.image_data.cache_clear()


@pytest.fixture(scope="session")
def fashion_mnist(tmp_path_factory):
    """The published data set, read from its files; none is prepared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "write_prepared", lambda *_: None)
        try:
            return datasets.image_data("fashion_mnist", data_dir=str(tmp_path_factory.mktemp("none")))
        except InputError as missing:
            pytest.skip(str(missing))


@pytest.fixture(scope="session")
def records():
    """Reads the lines of a folder's log.jsonl that are whole."""

    def read(folder):
        log = folder / "log.jsonl"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    return read
