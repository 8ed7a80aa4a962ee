"""Completion of a partly observed matrix: a compressed deep linear network, or alternating least squares."""

from lawlib.completion.compressed_network import entries_of, product, two_factors
from lawlib.completion.entries import from_nan
from lawlib.completion.result import Completion, predict
from lawlib.completion.solver import complete

__all__ = [
    "Completion",
    "complete",
    "entries_of",
    "from_nan",
    "predict",
    "product",
    "two_factors",
]
