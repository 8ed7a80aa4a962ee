"""What a member of a sweep is given: its own value of every number of the config."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.runner.fields import leaves
from lawlib.dynamics.system import Hyperparameters
from lawlib.types import Scalar

__all__ = ["number"]


def number(config: ConfigDict, hyperparameters: Hyperparameters, field: str) -> Scalar:
    """The member's own value of a numeric field: the swept one, or the config's."""
    return hyperparameters[field] if field in hyperparameters else jnp.asarray(leaves(config)[field], config.precision)
