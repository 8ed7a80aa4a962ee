"""Subspace inverse problems: signals in an unknown subspace, their measurements, and the oracle for a known subspace.

Columns are samples. x = R z with orthonormal R (d, s), y = A x with A (m, d), s <= m < d in the paper; noise is
added to y at test time only (Laus et al. 2025, Section 1 and "Experimental setup"). The theory is for signals with
given singular values; Appendix C trains on signals in a union of subspaces.
"""

import functools as ft
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lawlib.types import Array, Float, Int, Number, PRNGKey, Scalar, matmul

__all__ = [
    "InverseProblem",
    "UnionProblem",
    "coefficients",
    "draw_problem",
    "draw_union",
    "isometry_constant",
    "measurement_operator",
    "oracle_map",
    "signal_basis",
    "unit_signals",
]


class InverseProblem(NamedTuple):
    """Signals X = R Z (d, n), measurements Y = A X (m, n), the operator A (m, d) and the basis R (d, s)."""

    signals: Float[Array, "d n"]
    measurements: Float[Array, "m n"]
    operator: Float[Array, "m d"]
    basis: Float[Array, "d s"]


class UnionProblem(NamedTuple):
    """Signals in k subspaces: as ``InverseProblem``, with k bases (k, d, s) and the subspace number of each column."""

    signals: Float[Array, "d n"]
    measurements: Float[Array, "m n"]
    operator: Float[Array, "m d"]
    bases: Float[Array, "k d s"]
    labels: Int[Array, " n"]


def measurement_operator(
    key: PRNGKey, *, num_measurements: int, dimension: int, dtype: DTypeLike = float
) -> Float[Array, "m d"]:
    """A = G / sqrt m with iid N(0, 1) entries in G, m = num_measurements, d = dimension: E ||A x||^2 = ||x||^2.

    Raises:
        ValueError: a size is not positive.
    """
    _check_sizes(num_measurements=num_measurements, dimension=dimension)
    return jax.random.normal(key, (num_measurements, dimension), dtype) / math.sqrt(num_measurements)


def signal_basis(
    key: PRNGKey, *, dimension: int, subspace_dimension: int, dtype: DTypeLike = float
) -> Float[Array, "d s"]:
    """An orthonormal R (d, s) of a random subspace: the Q of a Gaussian matrix.

    Raises:
        ValueError: subspace_dimension is outside 1..dimension.
    """
    _check_subspace(subspace_dimension, dimension=dimension)
    return jnp.linalg.qr(jax.random.normal(key, (dimension, subspace_dimension), dtype))[0]


def coefficients(
    key: PRNGKey,
    *,
    subspace_dimension: int,
    num_samples: int,
    condition_number: Number = 1.0,
    dtype: DTypeLike = float,
) -> Float[Array, "s n"]:
    """Z (s, n) with random singular vectors and s singular values evenly spaced from 1 down to 1/kappa.

    kappa = condition_number. If Z has one row, its singular value is 1.

    Raises:
        ValueError: condition_number is a number below 1 or not finite, or n < s.
    """
    if isinstance(condition_number, (int, float)) and not 1 <= condition_number < math.inf:
        msg = f"condition_number must be finite and at least 1, got {condition_number}"
        raise ValueError(msg)
    _check_subspace(subspace_dimension, num_samples=num_samples)
    key_left, key_right = jax.random.split(key)
    left = jax.random.normal(key_left, (subspace_dimension, subspace_dimension), dtype)
    right = jax.random.normal(key_right, (num_samples, subspace_dimension), dtype)
    values = jnp.linspace(1, 1 / jnp.asarray(condition_number, dtype), subspace_dimension, dtype=dtype)
    return matmul(jnp.linalg.qr(left)[0] * values[None, :], jnp.linalg.qr(right)[0].T)


def draw_problem(
    key: PRNGKey,
    *,
    dimension: int,
    num_measurements: int,
    subspace_dimension: int,
    num_samples: int,
    condition_number: Number = 1.0,
    dtype: DTypeLike = float,
) -> InverseProblem:
    """Draw X = R Z and Y = A X: d = dimension, m = num_measurements, s = subspace_dimension, n = num_samples.

    R, Z and A are independent (``signal_basis``, ``coefficients``, ``measurement_operator``), so that X has the
    singular values of Z (Laus et al. 2025, "Experimental setup").

    Raises:
        ValueError: s exceeds d, m or n; a size is not positive; condition_number is below 1.
    """
    _check_subspace(subspace_dimension, dimension=dimension, num_measurements=num_measurements, num_samples=num_samples)
    key_R, key_Z, key_A = jax.random.split(key, 3)
    R = signal_basis(key_R, dimension=dimension, subspace_dimension=subspace_dimension, dtype=dtype)
    X = matmul(
        R,
        coefficients(
            key_Z,
            subspace_dimension=subspace_dimension,
            num_samples=num_samples,
            condition_number=condition_number,
            dtype=dtype,
        ),
    )
    A = measurement_operator(key_A, num_measurements=num_measurements, dimension=dimension, dtype=dtype)
    return InverseProblem(X, matmul(A, X), A, R)


def draw_union(
    key: PRNGKey,
    *,
    dimension: int,
    num_measurements: int,
    subspace_dimension: int,
    num_samples: int,
    num_subspaces: int,
    dtype: DTypeLike = float,
) -> UnionProblem:
    """Draw x_i = R_{j(i)} z_i with j uniform on k = num_subspaces independent subspaces, and Y = A X.

    All singular values of Z (s, n) are 1; the paper misprints its shape as d x n (Laus et al. 2025, Appendix C).

    Raises:
        ValueError: as ``draw_problem``, or num_subspaces is not positive.
    """
    _check_sizes(num_subspaces=num_subspaces)
    _check_subspace(subspace_dimension, dimension=dimension, num_measurements=num_measurements, num_samples=num_samples)
    key_R, key_Z, key_A, key_labels = jax.random.split(key, 4)
    draw = ft.partial(signal_basis, dimension=dimension, subspace_dimension=subspace_dimension, dtype=dtype)
    bases = jax.vmap(draw)(jax.random.split(key_R, num_subspaces))
    Z = coefficients(key_Z, subspace_dimension=subspace_dimension, num_samples=num_samples, dtype=dtype)
    labels = jax.random.randint(key_labels, (num_samples,), 0, num_subspaces)
    X = _in_their_subspaces(bases, labels, Z)
    A = measurement_operator(key_A, num_measurements=num_measurements, dimension=dimension, dtype=dtype)
    return UnionProblem(X, matmul(A, X), A, bases, labels)


def unit_signals(key: PRNGKey, bases: Float[Array, "k d s"], num_samples: int) -> Float[Array, "d n"]:
    """Draw test signals of norm 1: R z / ||z|| with z ~ N(0, I_s) and R uniform on the k bases (one for a subspace).

    Raises:
        ValueError: num_samples is not positive.
    """
    _check_sizes(num_samples=num_samples)
    key_z, key_labels = jax.random.split(key)
    z = jax.random.normal(key_z, (bases.shape[2], num_samples), bases.dtype)
    labels = jax.random.randint(key_labels, (num_samples,), 0, bases.shape[0])
    return _in_their_subspaces(bases, labels, z / jnp.linalg.norm(z, axis=0, keepdims=True))


def isometry_constant(operator: Float[Array, "m d"], basis: Float[Array, "d s"]) -> Scalar:
    """The restricted isometry constant of A on range(R): the least delta with 1 - delta <= ||A x||^2 <= 1 + delta.

    Here ||x|| = 1, and delta = max(sigma_1^2 - 1, 1 - sigma_s^2) over the singular values of A R, with orthonormal R
    (Laus et al. 2025, Assumption 2.1, eq. 6, where the print omits the squares).
    """
    values = jnp.linalg.svd(matmul(operator, basis), compute_uv=False)
    # With fewer measurements than dimensions some signal is not measured at all.
    smallest = values[-1] if operator.shape[0] >= basis.shape[1] else jnp.zeros((), values.dtype)
    return jnp.maximum(jnp.square(values[0]) - 1, 1 - jnp.square(smallest))


def oracle_map(signals: Float[Array, "d n"], measurements: Float[Array, "m n"], rank: int) -> Float[Array, "d m"]:
    """X Y^+ (d, m) with the pseudoinverse of Y's r = rank leading singular values: R (A R)^+ for X = R Z, Y = A X.

    The best map if the subspace is known: exact on A range(R), and zero on its complement (Laus et al. 2025,
    Appendix A.8).

    Raises:
        ValueError: rank is outside 1..min(m, n).
    """
    if not 1 <= rank <= min(measurements.shape):
        msg = f"rank must be in 1..{min(measurements.shape)} for measurements {measurements.shape}, got {rank}"
        raise ValueError(msg)
    U, s, Vt = jnp.linalg.svd(measurements, full_matrices=False)
    return matmul(matmul(signals, Vt[:rank].T) / s[None, :rank], U[:, :rank].T)


def _in_their_subspaces(
    bases: Float[Array, "k d s"], labels: Int[Array, " n"], coefficients: Float[Array, "s n"]
) -> Float[Array, "d n"]:
    # Coefficients of other subspaces are set to zero, so that no basis is repeated for every sample.
    mine = labels[None, :] == jnp.arange(bases.shape[0])[:, None]
    apart = jnp.where(mine[:, None, :], coefficients[None], 0)
    return jnp.einsum("kds,ksn->dn", bases, apart, precision="highest")


def _check_sizes(**sizes: int) -> None:
    if min(sizes.values()) < 1:
        msg = f"sizes must be positive, got {', '.join(f'{name}={size}' for name, size in sizes.items())}"
        raise ValueError(msg)


def _check_subspace(subspace_dimension: int, **spaces: int) -> None:
    for name, size in spaces.items():
        if not 1 <= subspace_dimension <= size:
            msg = f"subspace_dimension must be in 1..{size}, the {name}, got {subspace_dimension}"
            raise ValueError(msg)
