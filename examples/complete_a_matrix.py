"""Complete a matrix of rank 3 from three tenths of its entries, with an upper bound on the rank, or the rank itself."""

import jax
import numpy as np

import lawlib
from lawlib.completion import predict

RNG = np.random.default_rng(0)
MATRIX = (RNG.standard_normal((120, 3)) @ RNG.standard_normal((3, 100))).astype("float32")
SEEN = RNG.random(MATRIX.shape) < 0.3
HIDDEN = np.nonzero(~SEEN)


def completed(method, rank):
    """What was found, and its relative error on the entries that were not seen."""
    found = lawlib.complete(jax.random.key(0), np.where(SEEN, MATRIX, np.nan), rank=rank, method=method)
    missed = np.linalg.norm(predict(found, *HIDDEN) - MATRIX[HIDDEN]) / np.linalg.norm(MATRIX[HIDDEN])
    return found, float(missed)


FOUND = {"deep": completed("deep", rank=6), "als": completed("als", rank=3)}
for method, (found, missed) in FOUND.items():
    said = f"{found.held_out_error:.1e} on {found.held_out_count} entries held out"
    print(f"{method:5} error {missed:.1e} on the unseen entries; it expects {said}, after {found.steps} steps")
