"""Packages that only a part of lawlib needs, with the extra that installs each, and the error when one is missing."""

import contextlib
from collections.abc import Iterator

import jax

__all__ = ["EXTRAS", "imports_for"]

# The extra of lawlib that installs a package.
EXTRAS = {"flax": "flax", "diffrax": "flows", "matfree": "curvature", "matplotlib": "plots", "xarray": "plots"}


@contextlib.contextmanager
def imports_for(name: str) -> Iterator[None]:
    """A block that imports what ``name``, a function or a module, needs beyond lawlib's mandatory packages.

    Raises:
        ImportError: a package in ``EXTRAS`` is missing; the message has the name, the package and the command.
    """
    try:
        # A module that computes an array when it is imported must not keep a tracer of the program that is traced.
        with jax.ensure_compile_time_eval():
            yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        msg = f"{name} needs {package}: pip install 'lawlib[{EXTRAS[package]}]'"
        raise ModuleNotFoundError(msg, name=error.name) from None
