"""Where numbers come from: what decides them on a machine, which a resumed run must share, and the commit.

One record serves both: ``environment`` is written to provenance.json at each start, and its part ``conditions`` is kept
with the checkpoints.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lawlib
from experiments.runner.checkout import SOURCE

__all__ = ["code", "conditions", "environment", "git_state", "source_digest"]

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "diffrax", "matfree", "scikit-learn")
# What stores the state of a run and its results.
PACKAGES += ("orbax-checkpoint", "xarray")
# Accelerators' compilers and runtimes, where they are installed.
PLUGINS = ("jax-cuda13-plugin", "jax-cuda12-plugin", "jax-rocm-plugin", "libtpu")
# Settings of JAX that change draws, rounding or the compiled program, beside those that have a name of their own.
JAX_SETTINGS = (
    "jax_threefry_partitionable",
    "jax_threefry_gpu_kernel_lowering",
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_accurate_erf_inv",
    "jax_allow_f16_reductions",
    "jax_use_direct_linearize",
    "jax_use_hlo_logistic_lowering",
    "jax_softmax_custom_jvp",
    "jax_use_magma",
    "jax_bcoo_cusparse_lowering",
    "jax_use_shardy_partitioner",
    "jax_compiler_enable_remat_pass",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_memory_fitting_level",
)
# An SVD of 300 x 300 differs in its last digits between one OpenBLAS thread and four. XLA's own threads (NPROC: 2, 4,
# 16 and 64 were tried) change no bit.
VARIABLES = ("OPENBLAS_NUM_THREADS", "NVIDIA_TF32_OVERRIDE", "LIBTPU_INIT_ARGS")
# Flags of XLA that only write files or count the devices, whose number is recorded by itself.
NO_CONDITION = re.compile(r"xla_dump_|xla_force_host_platform_device_count$|xla_cpu_parallel_codegen_split_count$")
# What is only used after the results are written: nobody loses a run to a better label in a figure.
AFTERWARDS = re.compile(
    r"experiments/(laws/.*/)?(claims|figures|export|launch|merge|mission|runs)\.py|experiments/(papers|exporters)/"
)
COMMIT = ("git_commit", "git_clean")


def environment() -> dict[str, Any]:
    """Versions, device, precision, PRNG, flags and source of this process, without names or paths of the machine."""
    import jax

    devices, settings = jax.devices(), jax.config.values
    commit, clean = git_state(SOURCE)
    return {
        "versions": _versions(),
        "platform": devices[0].platform,
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "processor": _processor(),
        "x64": settings["jax_enable_x64"],
        "matmul_precision": settings["jax_default_matmul_precision"],
        "prng_impl": settings["jax_default_prng_impl"],
        "jax_settings": {name: _plain(settings[name]) for name in JAX_SETTINGS if name in settings},
        "xla_flags": _flags(os.environ.get("XLA_FLAGS", "")),
        "environment_variables": {name: _unplaced(os.environ.get(name)) for name in VARIABLES},
        "source_sha256": source_digest(),
        "git_commit": commit,
        "git_clean": clean,
    }


def code() -> dict[str, Any]:
    """Of the environment what no machine decides: the source, and the versions of packages."""
    return {"source_sha256": source_digest(), "versions": _versions()}


def conditions(environment: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    """What decides the numbers of a run: its environment but for the commit, and where its data are from."""
    return {**{name: value for name, value in environment.items() if name not in COMMIT}, "sources": dict(sources)}


def source_digest(
    lawlib_folder: Path = Path(lawlib.__file__).parent, experiments_folder: Path = Path(__file__).parents[1]
) -> str:
    """SHA-256 of the source files of lawlib and experiments, but for what judges, draws and reads finished runs.

    It is of the files, and not git's hash of a tree: it is the same with and without git, and has what is not
    committed in it.
    """
    total = hashlib.sha256()
    for name, file in (*_sources(lawlib_folder, "lawlib"), *_sources(experiments_folder, "experiments")):
        # Each part by its own digest: bytes that move from one file to the next change the whole.
        total.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _sources(folder: Path, package: str) -> Iterator[tuple[str, Path]]:
    named = {f"{package}/{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*.py")}
    yield from sorted((name, file) for name, file in named.items() if not AFTERWARDS.match(name))


def _versions() -> dict[str, str | None]:
    plugins = {name: version for name in PLUGINS if (version := _version(name))}
    # What an installer noted of an editable lawlib is out of date once it has changed.
    own = {"python": platform.python_version(), "lawlib": lawlib.__version__}
    return {**own, **{name: _version(name) for name in PACKAGES}, **plugins}


def _flags(text: str) -> dict[str, str]:
    """The flags of XLA by name, in order of names; of a flag that is given twice the last one counts."""
    parts = (word.lstrip("-").partition("=") for word in text.split() if word.startswith("-"))
    given = {name: value for name, _, value in parts}
    return {name: _unplaced(given[name]) for name in sorted(given) if not NO_CONDITION.match(name)}


def _unplaced(value: Any) -> Any:
    """The value, or a digest of one that may hold a path: a provenance does not tell where a run was made."""
    if not isinstance(value, str) or "/" not in value:
        return value
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()[:16]}"


def _processor() -> str:
    """The model of the CPU: of different ones JAX calls each "cpu", and compiles another program for it."""
    try:
        lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        return next(value.strip() for name, _, value in lines if name.strip() == "model name")
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_state(root: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the work tree at ``root`` and whether it is clean; (None, None) if there is none."""
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None, None  # an installed copy inside somebody else's repository
        return _git(root, "rev-parse", "HEAD"), not _git(root, "status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
