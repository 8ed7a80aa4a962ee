"""What is measured on an accelerator runs in its smoke form on any machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import gpu
from experiments.data import datasets
from experiments.runner.store import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("dtype", "bound"), [(jnp.float64, 1e-12), (jnp.float32, 2e-4)])
def test_the_law_is_exact_up_to_floating_point_error(dtype, bound):
    assert 0 < gpu.excess(8, 2, dtype) < bound


def test_a_wrong_rho_is_seen(monkeypatch):
    monkeypatch.setattr(gpu, "rho_square", lambda rho, **_: 0.999 * rho)
    assert gpu.excess(8, 2, jnp.float64) > 1e-4


def test_decompositions_under_vmap_are_timed_and_checked():
    measured = gpu._decompositions(3, 5)
    assert measured["SVD, 3 x 5 x 5, float32: relative error"] < 1e-5
    assert all(value > 0 for value in measured.values())


def test_runs_that_did_not_finish_are_named_in_the_table(tmp_path, capsys):
    (tmp_path / "measured.json").write_text(json.dumps({"what": 1.0}))
    (tmp_path / "figure_6").mkdir()
    with jax.enable_x64(True):
        assert gpu.main(["table", str(tmp_path)]) == 0
    assert "| figure_6 | not finished: " in (tmp_path / "gpu.md").read_text()
    assert "| what | 1 |" in capsys.readouterr().out


@pytest.mark.slow
def test_the_whole_command_in_its_smoke_form(tmp_path):
    try:
        datasets.image_data("fashion_mnist")
    except InputError as missing:
        pytest.skip(f"Fashion-MNIST is not here: {missing}")
    environment = os.environ | {"PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        ["bash", "benchmarks/gpu.sh", str(tmp_path / "gpu"), "smoke"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "gpu" / "gpu.md").read_text()
    for run in ("parsimony", "figure_6", "figure_14"):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {run} |")]
        assert "seconds on cpu" in row, done.stdout
