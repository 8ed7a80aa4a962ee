"""Complete a matrix
=================

Find a matrix of rank 3 from three tenths of its entries: with an upper bound on the rank, or with the rank itself.
Nothing has to be tuned, and entries that are held out say how far to trust the result.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import lawlib
from lawlib.completion import predict

RNG = np.random.default_rng(0)
MATRIX = (RNG.standard_normal((120, 3)) @ RNG.standard_normal((3, 100))).astype("float32")
SEEN = RNG.random(MATRIX.shape) < 0.3
HIDDEN = np.nonzero(~SEEN)

# %%
# What was not observed is NaN. ``deep`` is a compressed deep linear network and takes an upper bound on the rank;
# ``als`` is alternating least squares and takes the rank.

KNOWN = np.where(SEEN, MATRIX, np.nan)
FOUND = {
    "deep": lawlib.complete(jax.random.key(0), KNOWN, rank=6),
    "als": lawlib.complete(jax.random.key(0), KNOWN, rank=3, method="als"),
}

# %%
# The error that a result expects, from entries that were observed and not fitted, is close to the error on the entries
# that were never observed.

ERRORS = {}
for method, found in FOUND.items():
    missed = np.linalg.norm(predict(found, *HIDDEN) - MATRIX[HIDDEN]) / np.linalg.norm(MATRIX[HIDDEN])
    ERRORS[method] = float(missed)
    print(f"{method:5} expects an error of {found.held_out_error:.1e}, and has {missed:.1e} on the unseen entries")
    assert found.converged
    assert missed < 1e-3
    assert 0.5 < missed / found.held_out_error < 2

# %%
# The matrix, what was observed of it, and what was found.

FIGURE, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
shown = {"the matrix": MATRIX, "observed": KNOWN, "found": FOUND["deep"].left @ FOUND["deep"].right.T}
for axis, (title, values) in zip(axes, shown.items(), strict=True):
    axis.imshow(values, vmin=-4, vmax=4, cmap="RdBu")
    axis.set(title=title, xticks=[], yticks=[])
