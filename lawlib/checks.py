"""What is wrong with numbers that a caller gives, in words; values that are traced are not known and pass."""

import math
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from lawlib.types import PyTree

__all__ = ["is_concrete", "number_fault", "refuse", "whole_fault"]


def is_concrete(tree: PyTree) -> bool:
    """Whether no leaf is traced, so that values can be compared."""
    return not any(isinstance(x, Tracer) for x in jax.tree.leaves(tree))


def number_fault(name: str, value: Any, *, above: float | None = None, least: float | None = None) -> str:
    """Why a value is not one finite number above ``above``, or of at least ``least``; empty if it is, or is traced."""
    shape = np.shape(value)
    if shape != ():
        return f"{name} must be one number, got an array of shape {shape}"
    if not is_concrete(value):
        return ""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    fits = math.isfinite(number) and (above is None or number > above) and (least is None or number >= least)
    limits = (
        f" and {words} {limit:g}" for words, limit in (("above", above), ("at least", least)) if limit is not None
    )
    return "" if fits else f"{name} must be finite{''.join(limits)}, got {value}"


def whole_fault(name: str, value: Any, *, least: int) -> str:
    """Why a value is not a whole number of at least ``least``; empty if it is."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)
    return "" if is_whole else f"{name} must be a whole number of at least {least}, got {value}"


def refuse(*faults: str) -> None:
    """Raise ValueError with all faults that are not empty."""
    if found := "; ".join(filter(None, faults)):
        raise ValueError(found)
