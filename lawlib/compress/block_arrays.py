"""Arrays of a whole network that are known by a small block and one number.

In the bases of Theorem 1 every layer, its gradient, and all that an equivariant optimizer makes of them, is
diag(core, c I_m): a ``BlockArray``. An axis of it that runs over the d directions of a layer is an ``Axis``, of which
``active`` coordinates are in the core and ``idle`` ones are alike. Other axes are ordinary.

Two axes carry c I_m. A single one carries zeros, since no other vector is the same under all rotations of the idle
directions; but of singular values or eigenvalues, the idle ones are all c.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from lawlib.types import Array

__all__ = [
    "Axis",
    "BlockArray",
    "Choice",
    "Eye",
    "Fill",
    "Iota",
    "Lazy",
    "Raveled",
    "Unreadable",
    "Zero",
    "conformed",
    "is_lazy",
    "without",
]


class Unreadable(ValueError):
    """What a transformation does that block arrays cannot follow, in words."""


class Axis(NamedTuple):
    """An axis over the directions of one layer, or over the values of one decomposition (``spectral``)."""

    name: str
    active: int
    idle: int
    spectral: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockArray:
    """diag(core, idle I) over the axes that are not None; ``idle`` has the shape of the core without them.

    ``kind`` is "turning" for what turns along with the directions; "entries" for an entrywise product of two such
    arrays, of which only the sum over all entries is the same in every basis; "finite" for whether entries are
    finite, of which only all together are asked; and "values" for the values of a decomposition along one axis, on
    which any function acts one by one.
    """

    # Not ``Array``, since a tree of shapes has shapes in their place.
    core: Any
    idle: Any
    axes: tuple[Axis | None, ...] = dataclasses.field(metadata={"static": True})
    kind: Literal["turning", "entries", "finite", "values"] = dataclasses.field(
        default="turning", metadata={"static": True}
    )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole array."""
        sizes = zip(self.core.shape, self.axes, strict=True)
        return tuple(axis.active + axis.idle if axis else size for size, axis in sizes)

    @property
    def dtype(self) -> Any:
        """The type of its entries."""
        return self.core.dtype

    @property
    def directions(self) -> tuple[int, ...]:
        """The places of the axes over directions or spectra."""
        return tuple(place for place, axis in enumerate(self.axes) if axis)

    @property
    def is_spectral(self) -> bool:
        """Whether an axis runs over the values of one decomposition."""
        return any(axis is not None and axis.spectral for axis in self.axes)

    @property
    def num_idle(self) -> int:
        """The number m of idle directions."""
        return max((axis.idle for axis in self.axes if axis), default=0)

    def like(self, core: Array, idle: Array) -> "BlockArray":
        """Other numbers on the same axes."""
        return BlockArray(core, idle, self.axes, self.kind)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Zero:
    """An array of zeros of any shape, not formed."""

    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    dtype: Any = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fill:
    """One number in all entries."""

    value: Any
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def dtype(self) -> Any:
        """The type of its entries."""
        return self.value.dtype


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Eye:
    """A number times the identity."""

    value: Any
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def dtype(self) -> Any:
        """The type of its entries."""
        return self.value.dtype


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Iota:
    """The numbers 0, 1, 2, ... along one axis of a matrix, from which identities are made."""

    place: int = dataclasses.field(metadata={"static": True})
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    dtype: Any = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Raveled:
    """The entries of a matrix as a vector, of which only inner products are formed."""

    block: BlockArray

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of entries."""
        return (math.prod(self.block.shape),)

    @property
    def dtype(self) -> Any:
        """The type of its entries."""
        return self.block.dtype


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values of different forms, by a number: a layer's array, say, or ones where its norm is 0."""

    which: Any
    cases: tuple

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of each of them."""
        return self.cases[0].shape

    @property
    def dtype(self) -> Any:
        """The type of their entries."""
        return self.cases[0].dtype


Lazy = BlockArray | Zero | Fill | Eye | Iota | Raveled | Choice


def is_lazy(value: Any) -> bool:
    """Whether a value stands for an array that is not formed."""
    return isinstance(value, Lazy)


def without(places: tuple[int, ...], sizes: tuple) -> tuple:
    """The items that are not at these places."""
    return tuple(size for place, size in enumerate(sizes) if place not in places)


def conformed(value: Any, template: Any) -> Any:
    """Zeros, and multiples of the identity, as a block array on the axes of the template; other values as they are."""
    if not isinstance(template, BlockArray) or isinstance(value, BlockArray):
        return value
    if isinstance(value, Zero):
        return template.like(jnp.zeros(template.core.shape, value.dtype), jnp.zeros(template.idle.shape, value.dtype))
    # An identity between the directions of two layers would tie their bases to each other.
    square = len(template.directions) == 2 and template.axes[0] == template.axes[-1] and template.kind == "turning"
    if isinstance(value, Eye) and square:
        core = value.value * jnp.eye(*template.core.shape, dtype=value.dtype)
        return template.like(core, value.value)
    return value
