"""Completion of a partly observed matrix by descent on a compressed deep linear network."""

from lawlib.completion.compressed_network import Factors, entries_of, product, start, two_factors
from lawlib.completion.solver import Completion, complete

__all__ = ["Completion", "Factors", "complete", "entries_of", "product", "start", "two_factors"]
