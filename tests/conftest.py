"""One strict environment and one tolerance rule for the whole suite."""

import atexit
import os
import shutil
import tempfile

# What one worker of a run has compiled the others need not compile again: a tenth of the time. The first process to
# come here, which starts the workers, makes the folder, and removes it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="lawlib-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
# A process that is killed while it writes its list of fonts leaves a damaged one, which all later ones warn of.
if "MPLCONFIGDIR" not in os.environ:
    os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="lawlib-fonts-")
    atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)

import hypothesis
import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from liveness import end_hung_tests
from memory import MAX_RESIDENT, drop_programs, resident

import experiments  # noqa: F401  (prepares the process before JAX touches a device)
from lawlib.cpu import is_affected

# Compiling is most of the suite's time, and LLVM's optimizations most of compiling; the demo runs with all of them.
# Parts of a program compile at once only where there are idle cores.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1"
)
if is_affected():
    # The older emitters of fused loops, which compile in two thirds of the time, are gone from later versions.
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

hypothesis.settings.register_profile(
    "lawlib",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    max_examples=20,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # a busy machine is slow
)
hypothesis.settings.load_profile("lawlib")


def pytest_configure(config):
    end_hung_tests(config)


@pytest.fixture(scope="module", autouse=True)
def bounded_memory():
    """Keep every process of the suite below 3 GB: the largest module adds 1.3 GB to the limit."""
    yield
    if resident() > MAX_RESIDENT:
        drop_programs()


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return jnp.dtype(request.param)


@pytest.fixture
def unchecked():
    """Without the checks of types, as a user calls the library."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def tol():
    """The one tolerance rule, 100 eps(dtype) max(1, last axis); pass a larger factor for longer chains."""

    def tolerance(x, factor=100.0):
        return factor * float(jnp.finfo(x.dtype).eps) * max(1, x.shape[-1] if x.ndim else 1)

    return tolerance
