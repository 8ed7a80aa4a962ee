"""jaxlib 0.10.2 on a CPU can stop for ever, and can sum products wrongly; the entry points prevent both."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import DEVICES, REDUCTIONS, SCHEDULER

ROOT = Path(__file__).parents[1]
NUM_RUNS = 3
TIME_LIMIT = 60.0  # seconds; a run takes about ten


def python(*arguments, **given):
    """The outcome of a child process whose environment holds neither NPROC nor XLA_FLAGS but those given."""
    environment = {name: value for name, value in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")}
    environment |= {"PYTHONPATH": str(ROOT)} | given
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, timeout=TIME_LIMIT, capture_output=True, text=True
    )


@pytest.mark.parametrize(("nproc", "seen"), [(None, str(max(4, os.cpu_count() or 1))), ("2", "2"), ("64", "64")])
def test_experiments_set_nproc_where_it_is_unset(nproc, seen):
    child = python(
        "-c", "import experiments, os; print(os.environ['NPROC'])", **({} if nproc is None else {"NPROC": nproc})
    )
    assert (child.returncode, child.stdout.strip()) == (0, seen), child.stderr


IN_ORDER, RIGHT = f"--{SCHEDULER}=false", f"--{REDUCTIONS}=-reduce"
EVERY_CORE = f"--{DEVICES}={os.cpu_count()}"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("", f"{IN_ORDER} {RIGHT} {EVERY_CORE}"),
        (f"--{SCHEDULER}=true", f"--{SCHEDULER}=true {RIGHT} {EVERY_CORE}"),
        (f"--{DEVICES}=3", f"--{DEVICES}=3 {IN_ORDER} {RIGHT}"),
        ("--a", f"--a {IN_ORDER} {RIGHT} {EVERY_CORE}"),
    ],
)
def test_experiments_run_in_order_on_every_core_unless_told_otherwise(given, seen):
    child = python("-c", "import experiments, os; print(os.environ['XLA_FLAGS'])", XLA_FLAGS=given)
    assert (child.returncode, child.stdout.strip()) == (0, seen), child.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_program_that_deadlocks_on_two_cores_finishes(tmp_path):
    def finishes(_):
        try:
            child = python("tests/deadlock_reproducer.py", JAX_COMPILATION_CACHE_DIR=str(tmp_path))
        except subprocess.TimeoutExpired:
            return f"hung for {TIME_LIMIT} s"
        return child.stdout.strip() or child.stderr

    with ThreadPoolExecutor(2) as two_at_a_time:
        outcomes = list(two_at_a_time.map(finishes, range(NUM_RUNS)))
    assert outcomes == ["(16, 3) True"] * NUM_RUNS


# Without the flag that experiments sets, all of these come out wrong.
SIZES = [(512, 200, np.float64), (512, 200, np.float32), (128, 1000, np.float32)]


@pytest.mark.parametrize(("width", "samples", "kind"), SIZES)
def test_products_are_summed_right(width, samples, kind):
    rng = np.random.default_rng(0)
    W_1, X, W_2 = (rng.standard_normal(shape).astype(kind) for shape in ((width, 32), (32, samples), (64, width)))
    found = jax.jit(lambda W_1, W_2, X: jnp.sum(W_2 @ (W_1 @ X), axis=0))(W_1, W_2, X)
    wanted = (W_2.astype(float) @ (W_1.astype(float) @ X)).sum(0)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * abs(wanted).max())
