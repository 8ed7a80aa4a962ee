"""The packages that the experiments need, the extra that installs each, and the line about those that are missing.

Nothing here imports one of them.
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable

__all__ = ["LEAST_DISTRIBUTED", "PACKAGES", "outdated", "problems"]

# As pyproject.toml has it. Earlier ones were not tried.
LEAST_DISTRIBUTED = "2025.1"

# By extra of pyproject.toml: its packages, with the module that each is imported as. "run" has lawlib's own ones too.
PACKAGES = {
    "run": {
        **{name: name for name in ("jax", "jaxlib", "numpy", "optax", "jaxtyping", "flax", "diffrax", "matfree")},
        **{
            name: name
            for name in ("filelock", "h5netcdf", "h5py", "jinja2", "matplotlib", "ml_collections", "rich", "xarray")
        },
        "orbax-checkpoint": "orbax.checkpoint",
        "pillow": "PIL",
        "scikit-learn": "sklearn",
    },
    "data": {
        "tensorflow-datasets": "tensorflow_datasets",
        "array_record": "array_record",
        "importlib_resources": "importlib_resources",
        "safetensors": "safetensors",
    },
    "cluster": {"distributed": "distributed"},
}


def problems(what: str, extra: str, packages: Iterable[str] = ()) -> list[str]:
    """Why ``what`` cannot be done: one line with the missing packages of an extra; no line if all are installed.

    ``packages`` are those of the extra that it needs, by default all.
    """
    missing = [name for name in packages or PACKAGES[extra] if not _installed(PACKAGES[extra][name])]
    if not missing:
        return []
    remedy = f"run make install and use .venv/bin/python, or pip install -e '.[{extra}]' in the checkout"
    return [f"{what} needs {', '.join(missing)} (extra {extra}): {remedy}"]


def outdated(what: str, extra: str, package: str, least: str) -> list[str]:
    """Why ``what`` cannot be done with the version of a package that is installed; no line if it can."""
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # from a path of its own: nobody knows its version
        return []
    if _numbers(found) >= _numbers(least):
        return []
    remedy = f"pip install -e '.[{extra}]' in the checkout"
    return [f"{what} needs {package} {least} or later, and {found} is installed: {remedy}"]


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that the module lies in
        return False
