"""Arrays on the devices of several processes: put there from what each process has, and brought back whole.

In one process everything is at hand, and nothing here changes or copies what JAX does by itself.
"""

import functools as ft
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lawlib.types import PyTree

__all__ = ["gathered", "placed"]


def placed(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Put arrays that every process has in full on the devices of a sharding; what is on them already stays.

    All processes call it at once with the same values. Nothing is sent: each takes the parts of its own devices.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: _placed(x, sharding), tree)


def gathered(tree: PyTree) -> PyTree:
    """The same arrays with all their elements in this process; all processes call it at once.

    One array after the other goes to the host, so that a device holds one of them in full at a time.
    """
    return jax.tree.map(_gathered, tree)


def _gathered(x: Any) -> Any:
    if not isinstance(x, jax.Array) or x.is_fully_addressable:
        return x
    sharding: Any = x.sharding  # with a mesh, as everything that spans processes here
    whole = _replicate(sharding.mesh)(x).addressable_data(0)
    return whole if _is_key(x) else np.asarray(whole)


@ft.lru_cache(maxsize=8)
def _replicate(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    """A compiled identity whose result every device has in full."""
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, P()))


def _placed(x: Any, sharding: NamedSharding) -> Any:
    if not isinstance(x, jax.Array | np.ndarray) or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return x  # of a number every process has its own, and an array that spans processes is there
    if _is_key(x):
        impl = jax.random.key_impl(x)
        data = _placed(jax.random.key_data(x), sharding)
        return jax.jit(lambda data: jax.random.wrap_key_data(data, impl=impl), out_shardings=sharding)(data)
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])


def _is_key(x: jax.Array | np.ndarray) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
