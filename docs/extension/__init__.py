"""What the pages show of figures/, benchmarks/ and the code, as directives and roles; errors in them fail the build."""

from typing import Any

from sphinx.application import Sphinx

from experiments.runner.checkout import SOURCE
from extension import (
    api,
    benchmarks,
    claims,
    configs,
    docstrings,
    exhibits,
    formulas,
    gallery,
    links,
    numbers,
    scrolling,
    signatures,
    sources,
    summaries,
)

__all__ = ["setup"]

PARTS = (
    api,
    benchmarks,
    claims,
    configs,
    docstrings,
    exhibits,
    formulas,
    gallery,
    links,
    numbers,
    scrolling,
    signatures,
    sources,
    summaries,
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register every part; ``lawlib_root`` is the checkout whose tables the pages show."""
    app.add_config_value("lawlib_root", str(SOURCE), "env", types=(str,))
    for part in PARTS:
        part.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
