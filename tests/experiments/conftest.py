"""Runs shared by the tests of the experiments: a process takes seconds to start and longer to compile."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import datasets
from experiments.store import Refused

ROOT = Path(__file__).parents[2]


class Shell:
    """Starts ``python -m experiments.main`` in processes that share their compiled programs."""

    def __init__(self, compiled: Path):
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.env = {**os.environ, **cache}

    def start(self, *arguments, python=()):
        command = [sys.executable, *python, "-m", "experiments.main", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, env=self.env, text=True, **pipes)

    def finish(self, *arguments, python=()):
        """(exit code, stdout, stderr) of a process that runs to its end."""
        with self.start(*arguments, python=python) as process:
            try:
                out, err = process.communicate(timeout=240)
            finally:
                process.kill()
        return process.returncode, out, err


@pytest.fixture(scope="session")
def shell(tmp_path_factory):
    own = tmp_path_factory.getbasetemp()
    return Shell((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "compiled")


@pytest.fixture(scope="session")
def smoke(shell, tmp_path_factory):
    """The folder of a config's finished smoke run and what its process said, by name; each runs once."""
    runs = {}

    def run(name):
        if name not in runs:
            folder = tmp_path_factory.mktemp(name) / "run"
            config = f"--config={ROOT / 'configs' / name}.py:smoke"
            runs[name] = folder, shell.finish(config, f"--workdir={folder}")
        return runs[name]

    return run


@pytest.fixture(scope="session")
def fashion_mnist(tmp_path_factory):
    """The published data set, read from its files; none is prepared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "write_prepared", lambda *_: None)
        try:
            return datasets.image_data("fashion_mnist", data_dir=str(tmp_path_factory.mktemp("none")))
        except Refused as missing:
            pytest.skip(str(missing))


@pytest.fixture(scope="session")
def records():
    """Reads the lines of a folder's log.jsonl that are whole."""

    def read(folder):
        log = folder / "log.jsonl"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    return read
