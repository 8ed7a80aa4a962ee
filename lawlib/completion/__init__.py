"""Completion of a partly observed matrix by descent on a compressed deep linear network."""

from lawlib.completion.solver import Completion, Factors, complete, entries_of, product, start, two_factors

__all__ = ["Completion", "Factors", "complete", "entries_of", "product", "start", "two_factors"]
