"""Initial weights: eps-orthogonal, fan-in normal, fan-in uniform, and jointly balanced layers.

The first three build functions (key, shape, dtype) -> matrix, as jax.nn.initializers does, and can be
used as a Flax kernel_init. A shape is (out, in), as in the papers; for Flax kernels, which are (in, out), the fan-in
initializers take in_axis=-2. A scale may be traced, so that one compiled program sweeps it.
"""

import functools as ft
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from lawlib.types import Matrix, PRNGKey, Rate, Weights, matmul

__all__ = [
    "Initializer",
    "balanced",
    "balanced_factorization",
    "check_widths",
    "fan_in_normal",
    "fan_in_uniform",
    "orthogonal",
    "orthogonal_weights",
]

Initializer = Callable[..., Matrix]


def orthogonal(scale: Rate) -> Initializer:
    """Build W = eps Q with eps = scale: W^T W = eps^2 I or W W^T = eps^2 I, whichever is of the smaller size.

    Q is Haar orthogonal, or consists of rows or columns of a Haar orthogonal matrix. Eq. (3) of Yaras et al. 2023,
    "The Law of Parsimony in Gradient Descent for Learning Deep Linear Networks".

    Raises:
        ValueError: scale is a number that is not positive; later, a shape that is not two positive sizes.
    """
    _check_scale(scale)
    draw = jax.nn.initializers.orthogonal(1.0)

    def init(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = float) -> Matrix:
        _check_shape(shape)
        return _scaled(scale, draw(key, tuple(shape), dtype))

    return init


def orthogonal_weights(key: PRNGKey, widths: Sequence[int], scale: Rate, dtype: DTypeLike = float) -> Weights:
    """Draw (W_1, ..., W_L) independently, each eps-orthogonal, for widths (d_0, ..., d_L), W_l (d_l, d_{l-1}).

    Raises:
        ValueError: scale is a number that is not positive, or widths are not two or more positive sizes.
    """
    check_widths(widths)
    init, keys = orthogonal(scale), jax.random.split(key, len(widths) - 1)
    shapes = [(out, into) for into, out in itertools.pairwise(widths)]
    drawn = {}
    for shape in dict.fromkeys(shapes):
        alike = np.asarray([layer for layer, other in enumerate(shapes) if other == shape])
        # Drawn as one batch, so that the generator's long code is compiled once for all layers of this shape.
        batch = jax.vmap(lambda k, shape=shape: init(k, shape, dtype))(keys[alike])
        drawn |= dict(zip(alike.tolist(), batch, strict=True))
    return tuple(drawn[layer] for layer in range(len(shapes)))


def fan_in_normal(scale: Rate, *, in_axis: int = -1) -> Initializer:
    """Build W_ij ~ N(0, scale^2 / fan_in), iid, with fan_in = shape[in_axis].

    in_axis is -1 for the papers' (out, in) and -2 for Flax's (in, out).

    Raises:
        ValueError: scale is a number that is not positive, or in_axis is not -1 or -2; later, a shape that is
            not two positive sizes.
    """
    return _fan_in(jax.random.normal, scale, in_axis)


def fan_in_uniform(scale: Rate, *, in_axis: int = -1) -> Initializer:
    """Build W_ij ~ U(-a, a), iid, with a = scale sqrt(3 / fan_in), fan_in = shape[in_axis].

    The variance is scale^2 / fan_in, as in fan_in_normal; scale = 1/sqrt(3) gives a = 1/sqrt(fan_in), the
    default of PyTorch's Linear. in_axis is -1 for the papers' (out, in) and -2 for Flax's (in, out).

    Raises:
        ValueError: scale is a number that is not positive, or in_axis is not -1 or -2; later, a shape that is
            not two positive sizes.
    """
    of_unit_variance = ft.partial(jax.random.uniform, minval=-math.sqrt(3), maxval=math.sqrt(3))
    return _fan_in(of_unit_variance, scale, in_axis)


def balanced(key: PRNGKey, widths: Sequence[int], scale: Rate, dtype: DTypeLike = float) -> Weights:
    """Draw (W_1, ..., W_L) with W_{l+1}^T W_{l+1} = W_l W_l^T for widths (d_0, ..., d_L), W_l (d_l, d_{l-1}).

    One draw for all layers, since balance couples them: scale times the balanced factors of the best rank-r
    part of a matrix with entries N(0, 1/d_0), where r is the smallest width. Every layer is linear in scale.
    Procedure 1 of Arora et al. 2019, "A Convergence Analysis of Gradient Descent for Deep Linear Neural
    Networks"; balance is Definition 10 of Eftekhari 2020, "Training Linear Neural Networks".

    Raises:
        ValueError: scale is a number that is not positive, or widths are not two or more positive sizes.
    """
    _check_scale(scale)
    check_widths(widths)
    product = fan_in_normal(1.0)(key, (widths[-1], widths[0]), dtype)
    factors = balanced_factorization(product, widths, rank=min(widths))
    return jax.tree.map(ft.partial(_scaled, scale), factors)


def balanced_factorization(product: Matrix, widths: Sequence[int], *, rank: int | None = None) -> Weights:
    """Balanced factors of a given matrix: W_L ... W_1 = product and W_{l+1}^T W_{l+1} = W_l W_l^T.

    With product = U S V^T of shape (d_L, d_0) and widths (d_0, ..., d_L): W_1 = S^{1/L} V^T, W_L = U S^{1/L}
    and the layers between are S^{1/L}, each padded by zeros to (d_l, d_{l-1}). rank, by default
    min(d_0, d_L), is the known rank of product: further singular values are dropped, since rounding errors of 1e-17
    would become 8e-3 in each of eight layers; hidden layers may be as narrow as rank. Arora et al. 2019,
    Procedure 1.

    Raises:
        ValueError: widths are not two or more positive sizes, or do not match the shape of product; rank is
            not positive, or above a width.
    """
    check_widths(widths)
    if product.shape != (widths[-1], widths[0]):
        expected = (widths[-1], widths[0])
        msg = f"widths {tuple(widths)} factor a matrix of shape {expected}, got shape {product.shape}"
        raise ValueError(msg)
    rank = min(product.shape) if rank is None else rank
    if not 1 <= rank <= min(widths):
        msg = f"every width must be at least the rank {rank} >= 1 of the product, got widths {tuple(widths)}"
        raise ValueError(msg)
    U, s, Vt = jnp.linalg.svd(product, full_matrices=False)
    hidden = [jnp.eye(width, rank, dtype=product.dtype) for width in widths[1:-1]]
    frames = [Vt[:rank].T, *hidden, U[:, :rank]]
    root = s[None, :rank] ** (1 / (len(widths) - 1))
    return tuple(matmul(out * root, into.T) for into, out in itertools.pairwise(frames))


def _fan_in(of_unit_variance: Callable, scale: Rate, in_axis: int) -> Initializer:
    _check_scale(scale)
    _check_in_axis(in_axis)

    def init(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = float) -> Matrix:
        _check_shape(shape)
        return _scaled(scale / math.sqrt(shape[in_axis]), of_unit_variance(key, tuple(shape), dtype))

    return init


def _scaled(scale: Rate, W: Matrix) -> Matrix:
    # A traced scale may have another dtype than the weights, which keep theirs.
    return jnp.asarray(scale, W.dtype) * W


def _check_scale(scale: Rate) -> None:
    if isinstance(scale, (int, float)) and not (0 < scale < math.inf):
        msg = f"scale must be positive and finite, got {scale}"
        raise ValueError(msg)


def _check_in_axis(in_axis: int) -> None:
    if in_axis not in (-1, -2):
        msg = f"in_axis must be -1 for (out, in) or -2 for (in, out), got {in_axis}"
        raise ValueError(msg)


def _check_shape(shape: Sequence[int]) -> None:
    if len(shape) != 2 or min(shape) < 1:
        msg = f"a weight matrix needs two positive sizes, got shape {tuple(shape)}"
        raise ValueError(msg)


def check_widths(widths: Sequence[int]) -> None:
    """Check that widths (d_0, ..., d_L) are two or more positive sizes.

    Raises:
        ValueError: they are not.
    """
    if len(widths) < 2 or min(widths) < 1:
        msg = f"widths must be two or more positive sizes (d_0, ..., d_L), got {tuple(widths)}"
        raise ValueError(msg)
