"""Real data as plain arrays; reading them is the only I/O that an experiment needs."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

__all__ = ["Labelled", "digits"]


class Labelled(NamedTuple):
    """Inputs X (d, N) and one-hot labels Y (K, N); columns are samples."""

    inputs: np.ndarray
    labels: np.ndarray


def digits(dtype: np.dtype) -> Labelled:
    """The 1797 handwritten digits that scikit-learn ships: 8 x 8 pixels scaled to [0, 1], not centred, 10 classes.

    Three pixels are empty in every image, so the inputs have rank 61.
    """
    pixels, classes = load_digits(return_X_y=True)
    return Labelled((np.asarray(pixels).T / 16).astype(dtype), np.eye(10, dtype=dtype)[:, np.asarray(classes)])
