"""The XLA flags that jaxlib before 0.11 needs on a CPU to sum rightly and not to hang."""

import os
import re
import warnings
from importlib import metadata

__all__ = ["cpu_flags", "is_affected", "warn_if_affected"]

SCHEDULER = "xla_cpu_enable_concurrency_optimized_scheduler"
REDUCTIONS = "xla_cpu_experimental_ynn_fusion_type"
# An unknown flag ends the process, so later versions, which have neither fault, are given none.
MENDS = {SCHEDULER: "false", REDUCTIONS: "-reduce"}
FIRST_MENDED = (0, 11)


def is_affected() -> bool:
    """Whether this jaxlib has the faults, whatever the flags say."""
    try:
        major, minor = re.findall(r"\d+", f"{metadata.version('jaxlib')}.0")[:2]
    except metadata.PackageNotFoundError as error:
        msg = "lawlib needs jaxlib, which is not installed: pip install lawlib, or make install in a checkout"
        raise ModuleNotFoundError(msg, name="jaxlib") from error
    return (int(major), int(minor)) < FIRST_MENDED


def cpu_flags() -> str:
    """The value that the environment variable ``XLA_FLAGS`` needs: its present one, and what is missing in it.

    jaxlib 0.9.2 to 0.10.2 computes some sums over products wrongly on a CPU (of the column sums of W_2 (W_1 X), W_1
    512 x 32 and X 32 x 200, 136 of 200 were wrong), and can hang where it runs operations at the same time. From 0.11
    on nothing is missing. JAX reads the variable when it first uses a device; with several CPU devices the affected
    versions also need ``NPROC`` above their number.

    Example:
        >>> import os, lawlib
        >>> os.environ["XLA_FLAGS"] = lawlib.cpu_flags()  # before JAX first uses a device
    """
    return " ".join([os.environ.get("XLA_FLAGS", ""), *_missing()]).strip()


def warn_if_affected() -> None:
    """Warn, in two lines, if this jaxlib is an affected one and ``XLA_FLAGS`` lacks one of its mends."""
    # An empty value is no choice: JAX then takes what there is.
    platforms = os.environ.get("JAX_PLATFORMS") or "cpu"
    if "cpu" in platforms and _missing():
        installed = f"jaxlib {metadata.version('jaxlib')}"
        command = """export XLA_FLAGS="$(python -W ignore -c 'import lawlib; print(lawlib.cpu_flags())')\""""
        warnings.warn(
            f"{installed} can sum wrongly and hang on a CPU; jaxlib >= 0.11 (Python >= 3.12) cannot.\n"
            f"Or set XLA_FLAGS before Python starts: {command}",
            stacklevel=3,
        )


def _missing() -> list[str]:
    if not is_affected():
        return []
    given = os.environ.get("XLA_FLAGS", "")
    return [f"--{flag}={value}" for flag, value in MENDS.items() if flag not in given]
