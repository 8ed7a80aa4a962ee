"""The start of a low-rank head from its dense layers, its dense form and its size, for any framework.

Layers are flat dictionaries: "PATH/kernel" (inputs, outputs) and "PATH/bias" of each layer of the head, and any other
arrays. A low-rank layer has some of the factors "PATH/right", "PATH/inner", "PATH/left" in place of its kernel.
"""

import functools as ft
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lawlib.checks import refuse, whole_fault
from lawlib.compress.low_rank_init import INNER, padded_basis, positive_qr
from lawlib.linalg.spectra import Certified, Products, block_krylov_svd
from lawlib.linalg.subspaces import SubspaceSum
from lawlib.networks.initializers import orthogonal
from lawlib.theory.smooth_mlp import big_subspace
from lawlib.types import Array, Matrix, PRNGKey, Scalar, matmul

__all__ = [
    "FACTORS",
    "TRUNCATED",
    "Savings",
    "Size",
    "dense_layers",
    "factors_of",
    "layer_of",
    "size_of",
    "started",
    "wide",
    "widths_of",
]

# The factors of a low-rank layer, in the order in which they multiply a row of inputs.
FACTORS = ("right", "inner", "left")
# The start that preserves a trained network; those of ``low_rank_init`` are for an untrained one.
TRUNCATED = "truncated"

# The low-rank layers, None for parameters that are removed, and S_big of the first one, None if it is not computed.
Started = tuple[dict[str, Array | None], tuple[Certified, SubspaceSum] | tuple[None, None]]


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


def started(
    keys: tuple[PRNGKey, PRNGKey],
    flat: dict[str, Any],
    head: tuple[str, ...],
    gradient: Callable[[str, Any], Products],
    loss: Callable[[dict[str, Any]], Scalar],
    *,
    num_classes: int | None,
    rank: int | None,
    inner: str,
    basis: Matrix | None,
) -> Started:
    """The low-rank hidden layers at the start, with the options of ``head.low_rank_mlp``.

    The first of the ``keys`` is for S_big, the second for the layers. ``gradient(path, dtype)`` are the products with
    the gradient in the kernel of a layer, and ``loss(flat)`` is the loss of the first batch.

    Raises:
        ValueError: the layers or the options do not fit each other.
    """
    hidden, widths, is_truncated = head[:-1], widths_of(flat, head), inner == TRUNCATED
    _check_inner(inner, basis)
    if basis is not None:
        _check_basis(basis, widths, num_classes, rank)
        return _low_rank_layers(keys[1], flat, head, basis, basis.shape[1], inner), (None, None)
    classes, rank = _check_rank(widths, num_classes, rank, is_truncated)
    paths = hidden[: len(hidden) if is_truncated else 1] if classes else ()
    found = [
        _s_big(key, gradient(path, wide(flat[f"{path}/kernel"]).dtype), wide(flat[f"{path}/kernel"]), classes)
        for key, path in zip(jax.random.split(keys[0], len(hidden)), paths, strict=False)
    ]
    bases = [big.basis for _, big in found]
    changed = (
        _truncated(loss, flat, hidden, bases, rank)
        if is_truncated
        else _low_rank_layers(keys[1], flat, head, bases[0], rank, inner)
    )
    return changed, found[0] if found else (None, None)


def _s_big(key: PRNGKey, products: Products, kernel: Matrix, num_classes: int) -> tuple[Certified, SubspaceSum]:
    """S_big of a layer, from the gradient in its kernel W^T, whose left singular vectors are the right ones of W."""
    found = block_krylov_svd(key, products, num_classes)
    return found, big_subspace(kernel.T, found.svd.right, found.svd.left)


def _truncated(
    loss: Callable[[dict[str, Any]], Scalar],
    flat: dict[str, Any],
    hidden: tuple[str, ...],
    bases: list[Matrix],
    rank: int,
) -> dict[str, Array | None]:
    """The factors from the bases and singular vectors, or from singular vectors only, whichever has the lower loss."""
    kernels = {path: flat[f"{path}/kernel"] for path in hidden}
    plain = _projected(kernels, [jnp.zeros((len(kernel), 0)) for kernel in kernels.values()], rank)
    if not bases:
        return plain
    within = _projected(kernels, bases, rank)
    return jax.tree.map(ft.partial(jnp.where, loss(flat | within) <= loss(flat | plain)), within, plain)


def _projected(kernels: dict[str, Matrix], bases: list[Matrix], rank: int) -> dict[str, Array | None]:
    """The factors of V V^T K for each kernel K, V the basis and the leading left singular vectors of the rest of K."""
    small: dict[str, Array | None] = {}
    for (path, kernel), basis in zip(kernels.items(), bases, strict=True):
        K, V = wide(kernel), basis.astype(wide(kernel).dtype)
        if missing := rank - V.shape[1]:
            rest = K - matmul(V, matmul(V.T, K))
            leading = jnp.linalg.svd(rest, full_matrices=False)[0][:, :missing]
            # If the rank of the rest is lower, its last vectors are arbitrary.
            V = positive_qr(jnp.concatenate([V, leading], axis=1))[0]
        B, R = positive_qr(matmul(K.T, V))
        held = {"right": V, "inner": R.T, "left": B.T}
        small |= {f"{path}/{name}": value.astype(kernel.dtype) for name, value in held.items()}
        small[f"{path}/kernel"] = None
    return small


def _low_rank_layers(
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


def _check_inner(inner: str, basis: Matrix | None) -> None:
    if inner not in (*INNER, TRUNCATED):
        msg = f"inner must be one of {(*INNER, TRUNCATED)}, got {inner!r}"
        raise ValueError(msg)
    if inner == TRUNCATED and basis is not None:
        msg = f"a basis can be given for inner in {INNER} only: {TRUNCATED!r} computes one for every layer"
        raise ValueError(msg)


def _check_rank(
    widths: tuple[int, ...], num_classes: int | None, rank: int | None, is_truncated: bool
) -> tuple[int, int]:
    """K and r; by default K is the number of outputs, and r = 2K.

    Raises:
        ValueError: they do not fit each other and the widths.
    """
    refuse(
        "" if num_classes is None else whole_fault("num_classes", num_classes, least=0),
        "" if rank is None else whole_fault("rank", rank, least=1),
    )
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


def _check_basis(basis: Matrix, widths: tuple[int, ...], num_classes: int | None, rank: int | None) -> None:
    """Raise ValueError for a basis V~ that does not fit the widths, or that comes with other sizes."""
    d, r = basis.shape if basis.ndim == 2 else (0, 0)
    if num_classes is not None or rank not in (None, r) or d != widths[0] or r > min(widths[:-1]):
        msg = (
            f"a basis of shape (d={widths[0]}, r <= {min(widths[:-1])}) replaces num_classes and rank, got one of "
            f"shape {basis.shape} with num_classes={num_classes} and rank={rank}"
        )
        raise ValueError(msg)
