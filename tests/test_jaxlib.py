"""jaxlib before 0.11 can deadlock on a CPU, and can sum products wrongly; the entry points prevent both."""

import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from liveness import finish, without_settings

from experiments import DEVICES
from lawlib.cpu import MENDS, is_affected

ROOT = Path(__file__).parents[1]
NUM_RUNS = 3
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def python(*arguments, **given):
    """The outcome of a child process whose environment holds neither NPROC nor XLA_FLAGS but those given."""
    environment = without_settings() | {"PYTHONPATH": str(ROOT)} | given
    return finish([sys.executable, *arguments], env=environment, cwd=ROOT)


def prepared(name, **given):
    """What importing the experiments makes of a variable, and what it says on stderr."""
    child = python("-c", f"import experiments, os; print(os.environ[{name!r}])", **given)
    assert child.returncode == 0, child.stderr
    return child.stdout.strip(), child.stderr


def devices(count):
    return {"XLA_FLAGS": f"--{DEVICES}={count}"}


AFFECTED = pytest.mark.skipif(not is_affected(), reason="this jaxlib does not deadlock, and NPROC is left alone")


@AFFECTED
@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, str(max(4, 2 * CORES))),
        (devices(1), "4"),
        (devices(2), "4"),
        (devices(3), "6"),
        (devices(4), "8"),
        (devices(64), "128"),
        ({"XLA_FLAGS": f"--{DEVICES}=16 --a --{DEVICES}=8"}, "16"),  # XLA takes the last
        (devices(2) | {"JAX_NUM_CPU_DEVICES": "5"}, "10"),  # and JAX its own setting before XLA's
        (devices(4) | {"NPROC": "5"}, "5"),
        (devices(1) | {"NPROC": "1"}, "1"),
        ({"XLA_FLAGS": f'--{DEVICES}="4"'}, "8"),
    ],
)
def test_there_are_twice_as_many_threads_as_devices_unless_the_user_says_otherwise(given, seen):
    assert prepared("NPROC", **given) == (seen, "")


@AFFECTED
@pytest.mark.parametrize(("nproc", "count", "enough"), [("2", 2, 4), ("4", 4, 8), ("1", 8, 16), ("", 4, 8)])
def test_a_setting_that_can_deadlock_is_kept_and_warned_of(nproc, count, enough):
    seen, said = prepared("NPROC", NPROC=nproc, **devices(count))
    assert seen == nproc
    mend = f"unset NPROC or set NPROC={enough}"
    assert said == f"NPROC={nproc} with {count} CPU devices: jaxlib can deadlock; {mend}\n"


SCHEDULER = next(iter(MENDS))
IN_ORDER_AND_RIGHT = [f"--{flag}={value}" for flag, value in MENDS.items()] if is_affected() else []
EVERY_CORE = f"--{DEVICES}={CORES}"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("", [*IN_ORDER_AND_RIGHT, EVERY_CORE]),
        (f"--{SCHEDULER}=true", [f"--{SCHEDULER}=true", *IN_ORDER_AND_RIGHT[1:], EVERY_CORE]),
        (f"--{DEVICES}=3", [f"--{DEVICES}=3", *IN_ORDER_AND_RIGHT]),
        ("--a", ["--a", *IN_ORDER_AND_RIGHT, EVERY_CORE]),
    ],
)
def test_experiments_have_every_core_and_the_flags_of_their_jaxlib_unless_told_otherwise(given, wanted):
    assert prepared("XLA_FLAGS", XLA_FLAGS=given)[0].split() == wanted


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no process is bound to cores here")
def test_cores_that_the_process_may_not_use_are_no_devices():
    bound = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    child = python("-c", f"{bound}; import experiments, jax; print(jax.device_count(), os.environ.get('NPROC'))")
    assert child.stdout.split() == ["1", "4" if is_affected() else "None"], child.stderr


@pytest.mark.slow
def test_a_program_that_deadlocks_where_operations_run_at_the_same_time_finishes(tmp_path):
    for _ in range(NUM_RUNS):
        child = python("tests/support/deadlock_reproducer.py", JAX_COMPILATION_CACHE_DIR=str(tmp_path))
        assert child.stdout.strip() == "(16, 3) True", child.stderr


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 8])
def test_three_configs_finish_on_as_many_devices_as_an_ordinary_machine_has_cores(count):
    child = python("tests/support/deadlock_configs.py", "5", **devices(count))
    assert child.stdout.split() == ["dln_parsimony", "5", "dln_momentum", "5", "inverse_decay", "5"], child.stderr


# Without the flag that experiments sets, an affected jaxlib computes all of these wrongly.
SIZES = [(512, 200, np.float64), (512, 200, np.float32), (128, 1000, np.float32)]


@pytest.mark.parametrize(("width", "samples", "kind"), SIZES)
def test_products_are_summed_right(width, samples, kind):
    rng = np.random.default_rng(0)
    W_1, X, W_2 = (rng.standard_normal(shape).astype(kind) for shape in ((width, 32), (32, samples), (64, width)))
    found = jax.jit(lambda W_1, W_2, X: jnp.sum(W_2 @ (W_1 @ X), axis=0))(W_1, W_2, X)
    wanted = (W_2.astype(float) @ (W_1.astype(float) @ X)).sum(0)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * abs(wanted).max())
