"""The start of a low-rank head from its dense layers, its dense form and its size, for any framework.

Layers are flat dictionaries: "PATH/kernel" (inputs, outputs) and "PATH/bias" of each layer of the head, and any other
arrays. A low-rank layer has some of the factors "PATH/right", "PATH/inner", "PATH/left" in place of its kernel.
"""

import functools as ft
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lawlib.compress.low_rank_init import padded_basis, positive_qr
from lawlib.linalg.spectra import Certified, Products, block_krylov_svd
from lawlib.linalg.subspaces import SubspaceSum
from lawlib.networks.initializers import orthogonal
from lawlib.theory.smooth_mlp import big_subspace
from lawlib.types import Array, Matrix, PRNGKey, matmul

__all__ = [
    "FACTORS",
    "Savings",
    "Size",
    "check_basis",
    "check_rank",
    "dense_layers",
    "factors_of",
    "layer_of",
    "low_rank_layers",
    "s_big",
    "size_of",
    "wide",
    "widths_of",
]

# The factors of a low-rank layer, in the order in which they multiply a row of inputs.
FACTORS = ("right", "inner", "left")


class Size(NamedTuple):
    """The size of a network and the arithmetic of its head, counted from shapes.

    ``parameters`` are those of the whole network and ``parameter_bytes`` their memory, ``head_parameters`` those of the
    head with its biases; ``head_multiply_adds`` is for one row of inputs, in a forward pass.
    """

    parameters: int
    parameter_bytes: int
    head_parameters: int
    head_multiply_adds: int

    def optimizer_bytes(self, per_parameter: int) -> int:
        """Memory of an optimizer with this many numbers per parameter: 0 for SGD, 1 with momentum, 2 for Adam."""
        return per_parameter * self.parameter_bytes


class Savings(NamedTuple):
    """The network before and after."""

    before: Size
    after: Size


def factors_of(held: Mapping[str, Array], path: str) -> list[Array]:
    """The factors of one layer, in the order of ``FACTORS``, from what the layer at ``path`` holds.

    Raises:
        ValueError: it holds no factor.
    """
    factors = [held[name] for name in FACTORS if name in held]
    if not factors:
        msg = f"the low-rank network needs low-rank variables: the layer {path!r} holds {sorted(held)}, not 'inner'"
        raise ValueError(msg)
    return factors


def widths_of(flat: dict[str, Any], head: tuple[str, ...]) -> tuple[int, ...]:
    """The widths (d, m_1, ..., m_{L-1}, K) of the head.

    Raises:
        ValueError: a layer has another number of inputs than the layer before it has units.
    """
    shapes = [flat[f"{path}/kernel"].shape for path in head]
    if any(len(shape) != 2 for shape in shapes) or any(a[-1] != b[0] for a, b in itertools.pairwise(shapes)):
        named = dict(zip(head, shapes, strict=True))
        msg = (
            f"a layer of the head must have as many inputs as the layer before has units, got kernels (in, out) {named}"
        )
        raise ValueError(msg)
    return (shapes[0][0], *(shape[1] for shape in shapes))


def s_big(key: PRNGKey, products: Products, kernel: Matrix, num_classes: int) -> tuple[Certified, SubspaceSum]:
    """S_big of a layer, from the gradient in its kernel W^T, whose left singular vectors are the right ones of W."""
    found = block_krylov_svd(key, products, num_classes)
    return found, big_subspace(kernel.T, found.svd.right, found.svd.left)


def low_rank_layers(
    key: PRNGKey, flat: dict[str, Any], head: tuple[str, ...], basis: Matrix, rank: int, inner: str
) -> dict[str, Array | None]:
    """The parameters of the low-rank hidden layers; None for parameters that are removed."""
    hidden = head[:-1]
    small: dict[str, Array | None] = {}
    key_basis, key_inner = jax.random.split(key)
    B = padded_basis(key_basis, wide(basis), rank)
    for layer, (path, k) in enumerate(zip(hidden, jax.random.split(key_inner, len(hidden)), strict=True), start=1):
        kernel, bias = flat[f"{path}/kernel"], flat.get(f"{path}/bias")
        held = {"right": B} if layer == 1 else {}
        B, R = positive_qr(matmul(wide(kernel).T, B))
        held["inner"] = R.T if inner == "transported" else _drawn(k, wide(kernel), B.shape[1])
        if layer == len(hidden):
            held["left"] = B.T
        elif bias is not None:
            held["bias"] = matmul(B.T, wide(bias))
        small |= {f"{path}/{name}": value.astype(kernel.dtype) for name, value in held.items()}
        small[f"{path}/kernel"] = None
    return small


def _drawn(key: PRNGKey, kernel: Matrix, rank: int) -> Matrix:
    scale = jnp.linalg.norm(kernel) / min(kernel.shape) ** 0.5
    return orthogonal(scale)(key, (rank, rank), kernel.dtype.type)


def wide(x: Array) -> Array:
    """In at least 32 bits, as decompositions require."""
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def layer_of(flat: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What one layer holds, "kernel" or factors and "bias"."""
    return {at.rpartition("/")[2]: value for at, value in flat.items() if at.rpartition("/")[0] == path}


def dense_layers(flat: Mapping[str, Any], hidden: tuple[str, ...], widths: tuple[int, ...]) -> dict[str, Any]:
    """W_1 = [W~_1 V~^T; 0], W_l = [W~_l 0; 0 0], W_{L-1} = [U~ W~_{L-1} 0], biases padded with zeros."""
    dense = dict(flat)
    for path, shape in zip(hidden, itertools.pairwise(widths), strict=False):
        held = layer_of(flat, path)
        for name in held:
            del dense[f"{path}/{name}"]
        dense[f"{path}/kernel"] = _padded(ft.reduce(matmul, factors_of(held, path)), shape)
        if "bias" in held:
            dense[f"{path}/bias"] = _padded(held["bias"], shape[1:])
    return dense


def _padded(x: Array, shape: tuple[int, ...]) -> Array:
    return jnp.pad(x, [(0, size - given) for size, given in zip(shape, x.shape, strict=True)])


def size_of(flat: Mapping[str, Any], head: tuple[str, ...]) -> Size:
    """The size of a network with these arrays, and of its head."""
    arrays = [x for x in flat.values() if hasattr(x, "dtype")]
    own = [value for path, value in flat.items() if path.rpartition("/")[0] in head]
    return Size(
        sum(x.size for x in arrays),
        sum(x.size * x.dtype.itemsize for x in arrays),
        sum(x.size for x in own),
        sum(x.size for x in own if x.ndim == 2),
    )


# What is allowed. -----------------------------------------------------------------------------------------------------


def check_rank(
    widths: tuple[int, ...], num_classes: int | None, rank: int | None, is_truncated: bool
) -> tuple[int, int]:
    """K and r; by default K is the number of outputs, and r = 2K.

    Raises:
        ValueError: they do not fit each other and the widths.
    """
    classes = widths[-1] if num_classes is None else num_classes
    r, most = 2 * classes if rank is None else rank, min(widths[:-1])
    if classes < (0 if is_truncated else 1) or not max(2 * classes, 1) <= r <= most:
        without = ", or num_classes=0 and a rank, without S_big" if is_truncated else ""
        msg = (
            f"S_big needs num_classes >= 1 and 2 num_classes <= rank <= {most}, the narrowest of the head's inputs and "
            f"hidden layers {widths[:-1]}{without}; got num_classes={classes} and rank={r}"
        )
        raise ValueError(msg)
    return classes, r


def check_basis(basis: Matrix, widths: tuple[int, ...], num_classes: int | None, rank: int | None) -> None:
    """Raise ValueError for a basis V~ that does not fit the widths, or that comes with other sizes."""
    d, r = basis.shape
    if num_classes is not None or rank not in (None, r) or d != widths[0] or r > min(widths[:-1]):
        msg = (
            f"a basis of shape (d={widths[0]}, r <= {min(widths[:-1])}) replaces num_classes and rank, got one of "
            f"shape {basis.shape} with num_classes={num_classes} and rank={rank}"
        )
        raise ValueError(msg)
