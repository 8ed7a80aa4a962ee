"""The small classification tables that scikit-learn ships with."""

import numpy as np

from experiments.data.datasets import Labelled

__all__ = ["TABLES", "table"]

# Name: features and classes.
TABLES = {"iris": (4, 3), "wine": (13, 3), "breast_cancer": (30, 2)}


def table(name: str, dtype: np.dtype) -> Labelled:
    """All samples of a table of ``TABLES``: features as they are (d, N), and one-hot classes (K, N)."""
    from sklearn import datasets  # takes more than a second, which a run without it can save

    features, classes = getattr(datasets, f"load_{name}")(return_X_y=True)
    labels = np.eye(TABLES[name][1], dtype=dtype)[:, np.asarray(classes)]
    return Labelled(np.asarray(features).T.astype(dtype), labels)
