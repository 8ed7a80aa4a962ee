"""A member's own value of a number of the config: what the systems of laws start from."""

import copy
from typing import Any, NoReturn

import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.runner.fields import assign, leaves, swept
from lawlib.dynamics.system import Hyperparameters
from lawlib.types import Scalar

__all__ = ["Swept", "guarded", "value_of"]


def value_of(config: ConfigDict, hyperparameters: Hyperparameters, path: str) -> Scalar:
    """The member's own value of a numeric field: the swept one, or else the config's, in the config's precision."""
    if path in hyperparameters:
        return hyperparameters[path]
    return jnp.asarray(leaves(config)[path], config.precision)


class Swept:
    """Stands in for a field that is swept: any use is an error, since it would give every member the same value."""

    def __init__(self, path: str):
        self._path = path

    def __repr__(self) -> str:
        return f"{self._path}, which is swept"

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        msg = f"{self._path} is swept, read a member's own value with value_of(config, hyperparameters, {self._path!r})"
        raise TypeError(msg)

    __bool__ = __float__ = __int__ = __index__ = __array__ = __jax_array__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __neg__ = __abs__ = __round__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _refuse
    __hash__ = None  # type: ignore[assignment]


def guarded(config: ConfigDict) -> ConfigDict:
    """The config with ``Swept`` in place of every field that is swept."""
    whole = copy.deepcopy(config)
    with whole.ignore_type():
        for path in swept(config):
            assign(whole, path, Swept(path))
    return whole
