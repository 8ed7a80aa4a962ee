"""A member's own value of a number of the config: what the systems of laws start from."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.runner.fields import leaves
from lawlib.dynamics.system import Hyperparameters
from lawlib.types import Scalar

__all__ = ["value_of"]


def value_of(config: ConfigDict, hyperparameters: Hyperparameters, path: str) -> Scalar:
    """The member's own value of a numeric field: the swept one, or else the config's, in the config's precision."""
    if path in hyperparameters:
        return hyperparameters[path]
    return jnp.asarray(leaves(config)[path], config.precision)
