"""Adapters W_0 + Delta of a frozen matrix: LoRA, Deep LoRA and its compression (Yaras et al. 2024, arXiv:2406.04112).

Deep LoRA trains Delta = W_L ... W_1 with square layers, W_l(0)^T W_l(0) = eps^2 I, L = 3 in the paper. ``Adapter`` is
its compression U W~_L ... W~_1 V^T with V (n, k), U (m, k) and W~_l(0) = eps I. Let Q = W_{L:1}(0) / eps^L. For U = Q V
the compression is exact if the gradient G(W) of the loss keeps to the two bases. That is, for every core K and
number c there is a number s(c) and a k x k matrix M, which does not depend on c, with

    G(W_0 + U K V^T + c (Q - U V^T)) = U M V^T + s(c) (Q - U V^T).

Then gradient descent on all W_l, with weight decay and momentum, is that of the W~_l on K -> loss(W_0 + U K V^T) with U
and V fixed, and

    Delta(t) = U W~_{L:1}(t) V^T + rho(t)^L (Q - U V^T),   rho(0) = eps.

Proof: let W_l = B_l W~_l B_{l-1}^T + (rho/eps) (W_l(0) - eps B_l B_{l-1}^T), B_0 = V, B_l = W_l(0) B_{l-1} / eps, as at
the start with rho = eps. The two terms have orthogonal row spaces and column spaces. So products of layers have
this form too, and dL/dW_l = (W_L ... W_{l+1})^T G (W_{l-1} ... W_1)^T is B_l times the gradient of W~_l times
B_{l-1}^T, plus rho^{L-1} s(rho^L) times the idle part of W_l(0) / eps. The step keeps the form. Two cases fulfil it:

- least squares with whitened inputs, G(W) = W - Phi, m = n: s(c) = c, so rho follows ``theory.parsimony.rho_square``.
  U and V hold the column and row space of Phi - W_0, of rank r: k = 2r.
- a loss l(A W X): G(W) = A^T l'(A W X) X^T. Then s = 0 and rho follows ``rho_wide``: without weight decay it stays eps.
  U and V hold the q-dimensional range of A^T and the p-dimensional range of X: k = q + p. A linear map to K classes
  after W gives q <= K; N samples, or inputs of N dimensions, give p <= N. W may be m x n: it is then a part of the
  square Delta, as in ``deep_linear.draw_bases``.

Elsewhere (an activation after W, more samples than k, other optimizers) the compression is an approximation. Its bases
are then those of the largest singular values of the gradient G(W_0), and U and V learn at a smaller rate, gamma = 0.01
times that of the W~_l in the authors' code (github.com/cjyaras/deep-lora-transformers), where eps = 1e-3. In the first
case G(W_0) = W_0 - Phi has just the two spaces; the gradient with the adapter in place is off by eps^L Q.

``adapted_network`` puts adapters into the layers of any network, inside the user's own loss.
"""

import functools as ft
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lawlib.checks import number_fault, refuse, whole_fault
from lawlib.compress.deep_linear import Bases, LowRank
from lawlib.theory.parsimony import bases_through
from lawlib.theory.parsimony_defects import check_bases
from lawlib.theory.parsimony_widths import layer_scale
from lawlib.types import Array, Float, PRNGKey, Rate, Weights, matmul

__all__ = ["Adapter", "adapter_bases", "apply", "change", "deep_lora", "gradient_lora", "gradient_svd", "lora", "rates"]


class Adapter(NamedTuple):
    """Delta = left W~_L ... W~_1 right^T: ``core`` is (W~_1, ..., W~_L), and empty for LoRA.

    The compressed network of ``completion`` (Yaras et al. 2023, eqs. 9 and 11) is an adapter of the matrix 0.
    """

    left: Float[Array, "m k"]
    core: Weights
    right: Float[Array, "n k"]


def gradient_svd(outer: Float[Array, "m N"], inner: Float[Array, "n _"], rank: int) -> LowRank:
    """The ``rank`` leading singular triplets of outer inner^T, such as a gradient G = D X^T over N samples.

    D are the derivatives in W X, sample by sample, and X the inputs. G is not formed: two thin QR factorizations leave
    an SVD of at most N x N, O((m + n) N^2) in all. ``linalg.gradients`` has the products of any Flax layer's gradient.

    Raises:
        ValueError: rank is outside 1..min(m, n, N), or the two have different numbers of samples.

    Example:
        >>> import jax.numpy as jnp
        >>> from lawlib.compress import adapters
        >>> gradient = adapters.gradient_svd(3.0 * jnp.eye(10_000, 2), jnp.eye(10_000, 2), rank=1)
        >>> gradient.left.shape, float(gradient.values[0])
        ((10000, 1), 3.0)
    """
    (m, N), (n, other) = outer.shape, inner.shape
    if other != N:
        msg = f"outer and inner must have one column for each sample, got {N} and {other} columns"
        raise ValueError(msg)
    if not 1 <= rank <= min(m, n, N):
        msg = f"rank must be in 1..{min(m, n, N)} for {N} samples and an {m} x {n} matrix, got {rank}"
        raise ValueError(msg)
    (left, R), (right, S) = jnp.linalg.qr(outer), jnp.linalg.qr(inner)
    U, values, Vt = jnp.linalg.svd(matmul(R, S.T), full_matrices=False)
    return LowRank(matmul(left, U[:, :rank]), values[:rank], matmul(right, Vt[:rank].T))


def adapter_bases(weights: Weights, left: Float[Array, "d q"], right: Float[Array, "d p"]) -> Bases:
    """U = Q V and V = orth[right, Q^T left], k = q + p, of given square W_l(0), by products with k columns alone.

    ``left`` and ``right`` are orthonormal and span the column and row spaces of the gradients. Without W_l(0),
    ``draw_bases`` draws the same U and V. Unless they are traced, the blocks are checked, and the layers by products
    with two vectors.

    Raises:
        ValueError: the layers are not square of the width d of both blocks, or k is not in 2..d - 1; the blocks are not
            orthonormal, or the layers not orthogonal times one eps, beyond rounding.
    """
    (d, q), p = left.shape, right.shape[1]
    shapes = [W.shape for W in weights]
    if not weights or {*shapes, (d, len(right))} != {(d, d)}:
        msg = f"an adapter has square layers of the width of left and right, {d} and {len(right)}, got {shapes}"
        raise ValueError(msg)
    if not 0 < min(q, p) < q + p < d:
        msg = f"column and row spaces need at least 1 and together fewer than {d} dimensions, got {q} and {p}"
        raise ValueError(msg)
    check_bases(left, right, weights, layer_scale(weights[0]))
    bases = bases_through(weights, left, right)
    return Bases(bases[-1], bases[0])


def deep_lora(bases: Bases, *, scale: Rate, depth: int = 3) -> Adapter:
    """Compressed Deep LoRA at the start: U and V are the bases, and every W~_l = eps I with eps = ``scale``.

    Raises:
        ValueError: depth is below 1, the bases have different numbers of columns, or scale is not one finite positive
            number in the bases' precision.
    """
    (_, k), (_, other), dtype = bases.left.shape, bases.right.shape, bases.left.dtype
    unequal = "" if k == other else f"the bases of an adapter need as many columns, got {k} and {other}"
    eps = jnp.asarray(scale, dtype)
    rounded = number_fault("scale", scale, above=0.0) or number_fault(f"scale in {dtype}", eps, above=0.0)
    refuse(whole_fault("depth", depth, least=1), unequal, rounded)
    layer = eps * jnp.eye(k, dtype=dtype)
    return Adapter(bases.left, (layer,) * depth, bases.right)


def lora(key: PRNGKey, shape: tuple[int, int], rank: int, dtype: DTypeLike = float) -> Adapter:
    """LoRA of this rank at the start: Delta = left right^T with left = 0 and right Gaussian of variance 1/n.

    Raises:
        ValueError: rank is outside 1..min(m, n).
    """
    m, n = shape
    if not 1 <= rank <= min(m, n):
        msg = f"the rank of an adapter of an {m} x {n} matrix must be in 1..{min(m, n)}, got {rank}"
        raise ValueError(msg)
    right = jax.random.normal(key, (n, rank), dtype) / jnp.sqrt(jnp.asarray(n, dtype))
    return Adapter(jnp.zeros((m, rank), dtype), (), right)


def gradient_lora(gradient: LowRank, *, scale: Rate = 1.0) -> Adapter:
    """LoRA at the start in the k leading triplets U S V^T of a gradient G(W_0): left = 0 and right = scale V.

    Delta = 0: W_0 stays as it is, and the network computes what it did. The gradient in right is 0, and that in left is
    scale G V = scale U S. So a first step of gradient descent of size eta gives Delta = -eta scale^2 U S V^T, which of
    all changes of rank k is the nearest to the step -eta scale^2 G of the whole matrix (Eckart and Young 1936). The
    factor alpha / k of other implementations is a part of ``scale`` here, so that Delta is left right^T in all cases.

    This is not the start of LoRA-GA (Wang, Yu and Li, NeurIPS 2024): left = c U_{k+1..2k}, right = c V_{1..k} with
    c = m^{1/4} / sqrt(gamma), and the frozen matrix W_0 - left right^T (times the scaling factor), so that the network
    computes what it did up to rounding. Its first step, -eta c^2 (G V V^T + U U^T G), has the 2k leading directions of
    G. It needs 2k triplets, and it changes W_0, whose rounding errors, large in half precision, the network then keeps.
    Its G is that of a few sampled batches, decomposed by a randomized SVD whose error is not known.

    Raises:
        ValueError: scale is not one finite positive number.

    Example:
        >>> import jax.numpy as jnp
        >>> from lawlib.compress import adapters
        >>> gradient = adapters.gradient_svd(3.0 * jnp.eye(6, 2), jnp.eye(4, 2), rank=1)
        >>> adapter = adapters.gradient_lora(gradient)
        >>> adapter.left.shape, adapter.right.shape, float(jnp.abs(adapter.left).max())
        ((6, 1), (4, 1), 0.0)
    """
    refuse(number_fault("scale", scale, above=0.0))
    return Adapter(jnp.zeros_like(gradient.left), (), jnp.asarray(scale, gradient.right.dtype) * gradient.right)


def rates(step_size: Rate, *, outer: Rate, depth: int = 3) -> Adapter:
    """The tree of step sizes in which U and V have outer * step_size, for ``descent.steps`` (outer = 0: U, V fixed).

    A tree for LoRA has depth 0. Weight decays have such a tree as well.

    Raises:
        ValueError: step_size or outer is not one finite number of at least 0, or depth not a whole one.
    """
    refuse(
        number_fault("step_size", step_size, least=0.0),
        number_fault("outer", outer, least=0.0),
        whole_fault("depth", depth, least=0),
    )
    return Adapter._make((outer * step_size, (step_size,) * depth, outer * step_size))


def apply(adapter: Adapter, inputs: Float[Array, "n N"]) -> Float[Array, "m N"]:
    """Delta X, to be added to W_0 X: no m x n matrix is formed."""
    return matmul(adapter.left, ft.reduce(lambda H, W: matmul(W, H), adapter.core, matmul(adapter.right.T, inputs)))


def change(adapter: Adapter) -> Bases:
    """Delta as left right^T, left = U W~_{L:1} (m, k) and right = V (n, k)."""
    return Bases(ft.reduce(matmul, reversed(adapter.core), adapter.left), adapter.right)
