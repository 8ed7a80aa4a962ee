"""A low-rank MLP head for any Flax network: built in S_big, trained in its factors, and converted to dense weights.

The head consists of L ``nn.Dense`` layers W_1, ..., W_L (their kernels are the transposes) with functions phi between
them that act unit by unit. Its low-rank form (Xu et al. 2026, eq. 10), for training from initialization, is

    x -> W_L phi(U~ W~_{L-1} phi(W~_{L-2} ... phi(W~_1 V~^T x + b~_1) ... + b~_{L-2}) + b_{L-1}) + b_L

with r units in every hidden layer but the last, W~_l of size r x r, and V~, U~, W~_l, W_L and the biases all trained.
A trained network needs all its units. The form that preserves it has three factors in every hidden layer:

    x -> W_L phi(U~_{L-1} W~_{L-1} V~_{L-1}^T ... phi(U~_1 W~_1 V~_1^T x + b_1) ... + b_{L-1}) + b_L.
"""

import functools as ft
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from lawlib.checks import is_concrete
from lawlib.compress.head_checks import (
    Losses,
    check_dense_form,
    check_units,
    measured_losses,
    warn_if_lost,
    without_dropout,
)
from lawlib.compress.head_layers import find_head, flat_params, with_factors, with_params
from lawlib.compress.head_start import TRUNCATED, Savings, dense_layers, size_of, started, widths_of
from lawlib.linalg.gradients import gradient_products
from lawlib.linalg.spectra import Certified, Products
from lawlib.linalg.subspaces import SubspaceSum
from lawlib.types import Array, Float, PRNGKey, PyTree, Scalar

__all__ = ["LowRankNetwork", "low_rank_mlp"]


@runtime_checkable
class Network(Protocol):
    """A ``flax.linen.Module``, whose class is not named here: Flax is imported when ``low_rank_mlp`` is called."""

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for variables and inputs."""
        ...


class LowRankNetwork(NamedTuple):
    """A network whose head has low rank, with its start, its savings and the conversion to dense weights.

    ``variables`` are the network's with, for each hidden layer of the head, in Flax's convention (rows of inputs):
    ``inner`` = W~_l^T (r, r), in the first ``right`` = V~ (d, r), in the last ``left`` = U~^T (r, m), and the bias, if
    there is one, of r or m entries; after ``inner="truncated"`` all three in every layer, and the bias of m entries.
    ``apply(variables, ...)`` is ``network.apply`` and ``loss(variables, batch)`` the given loss, both for such
    variables. ``to_dense(variables)`` are variables of the original network that compute the same function, for any
    activation: the units beyond the first r have the value phi(0) and outgoing weights of zero.

    ``gradient`` (its ``certified`` and ``gap``) and ``big`` (its ``kept``) state how well S_big of the first layer is
    determined (``spectra.Certified``, ``subspaces.SubspaceSum``); both are None if no S_big is computed. ``losses``
    are those of the given and of the low-rank network on the first batch, without dropout.
    """

    variables: PyTree
    apply: Callable[..., Any]
    loss: Callable[[PyTree, Any], Scalar]
    to_dense: Callable[[PyTree], PyTree]
    savings: Savings
    losses: Losses
    gradient: Certified | None
    big: SubspaceSum | None


def low_rank_mlp(
    key: PRNGKey,
    network: Network,
    variables: PyTree,
    loss: Callable[[PyTree, Any], Scalar],
    batches: PyTree,
    *,
    layers: Sequence[str] | None = None,
    num_classes: int | None = None,
    rank: int | None = None,
    inner: str = "transported",
    basis: Float[Array, "d r"] | None = None,
) -> LowRankNetwork:
    """The low-rank form of a network's MLP head, starting in S_big (Xu et al. 2026, Section 5, Appendix F).

    The start is for training from initialization: all hidden layers but the last have r units, so that a trained
    network would lose its function. For a trained network use ``inner="truncated"``.

    ``loss(variables, batch)`` calls ``network.apply``; a ``jax.jit`` around it is removed. A jit inside it, or a
    ``jax.checkpoint`` around it, hides the layers. ``batches`` is a tree of arrays whose leading axis runs over the
    batches. The gradient is that of the losses *summed* over them, in the kernel itself, an array of the kernel's size
    (the route "parameter" of ``linalg.gradients.gradient_products``). It includes an L2 penalty on the kernels
    in the loss, which in training acts on the factors of the low-rank network. A penalty c/2 ||W_1||_F^2 adds c W_1: if
    this is larger than the gradient of the data, S_big tends to the leading singular vectors of W_1, independently of
    the data. ``layers`` are the paths of the head's ``nn.Dense`` layers in order, "Dense_0" or "head/Dense_0"; by
    default all layers that run and have their weights in ``variables``.

    V~ spans S_big = span[R, W_1^T L], from the K = ``num_classes`` leading singular vectors L, R of the gradient in
    W_1 (by default K is the number of outputs), and random directions up to r = ``rank`` >= 2K columns (default 2K).
    With cross-entropy a gradient has K - 1 directions with signal, so that the K-th need not be certified. ``basis`` is
    an orthonormal V~ that replaces S_big. The bases of the next layers are given by W_l B_{l-1} = B_l R_l, B_0 = V~,
    with R_l upper triangular and its diagonal nonnegative: this is defined for any weights, and is
    B_l = W_l B_{l-1} / eps for square eps-orthogonal layers (eq. 8). U~ = B_{L-1}, and W~_l = R_l ("transported": the
    whole network for linear units without biases and x in the span of V~) or eps-orthogonal with eps = ||W_l||_F /
    sqrt(its smaller side) ("drawn", as in the paper's text). Biases are kept if they have as many entries as before;
    otherwise they are B_l^T b_l. Kept arrays are not copied: donating the low-rank variables to a step invalidates the
    original ones.

    "truncated" keeps all units and the biases: each hidden layer W_l becomes W_l V~_l V~_l^T = U~_l W~_l V~_l^T, where
    V~_l spans S_big of that layer, span[R_l, W_l^T L_l] from the gradient in W_l, and the r - 2K leading right singular
    vectors of the rest of W_l. If the truncated SVDs, with the r leading right singular vectors of each W_l, have a
    lower loss on the first batch, all layers use these instead; ``num_classes=0`` always uses them, at any rank.

    A warning is issued if a trained network loses more than half of what it has learned (``head_checks.warn_if_lost``).
    Except with "truncated", everything between the layers must act unit by unit, as activations and dropout do.
    Normalizations and layers with weights are refused by name. A softmax, a user-defined normalization, a skip
    connection and the like are found on the first batch: the low-rank network and its dense form differ, or a unit
    changes with others (``head_checks.check_dense_form``, ``check_units``). The warning and the comparisons need values
    and are skipped under ``jax.jit`` and ``jax.vmap``, where ``losses`` are traced like the variables. If the loss
    itself runs the network inside ``jax.vmap`` or ``lax.map``, only the two losses are compared. A layer inside
    ``nn.scan``, ``nn.vmap`` or ``nn.remat`` is not supported.

    Raises:
        ValueError: layers that the network does not run exactly once and in this order; an operation between them that
            does not act unit by unit; a rank outside 2K..the narrowest side; an unknown ``inner``; a basis of another
            shape; boxed variables (``nn.Partitioned``).
        ImportError: flax is not installed.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp, lawlib
        >>> network = nn.Sequential([nn.Dense(64), nn.gelu, nn.Dense(64), nn.gelu, nn.Dense(3)])
        >>> x, y = jax.random.normal(jax.random.key(0), (1, 50, 20)), jnp.zeros((1, 50, 3))  # one batch
        >>> variables = network.init(jax.random.key(1), x[0])
        >>> def loss(variables, batch):
        ...     return jnp.sum((network.apply(variables, batch[0]) - batch[1]) ** 2)
        >>> low = lawlib.low_rank_mlp(jax.random.key(2), network, variables, loss, (x, y))
        >>> low.savings.before.parameters, low.savings.after.parameters
        (5699, 841)
    """
    # A jitted loss is not traced again, which would hide its layers. Unwrapping a method would lose its self.
    if not inspect.ismethod(loss):
        loss = inspect.unwrap(loss, stop=lambda outer: not isinstance(outer, jax.stages.Wrapped))
    is_truncated = inner == TRUNCATED
    head = find_head(loss, variables, batches, layers, keeps_units=is_truncated)
    flat, hidden = flat_params(variables), head[:-1]
    key_gradient, key_start, key_check = jax.random.split(key, 3)
    first, low_loss = jax.tree.map(lambda x: x[0], batches), with_factors(loss, hidden)
    changed, found = started(
        (key_gradient, key_start),
        flat,
        head,
        ft.partial(_gradient, loss, variables, batches),
        lambda flat: without_dropout(low_loss)(with_params(variables, flat), first),
        num_classes=num_classes,
        rank=rank,
        inner=inner,
        basis=basis,
    )
    small, to_dense = with_params(variables, flat | changed), ft.partial(_to_dense, hidden, widths_of(flat, head))
    losses = measured_losses(loss, low_loss, variables, small, first)
    if is_concrete(losses):
        if not is_truncated:
            check_dense_form(key_check, (low_loss, loss), small, to_dense(small), first, head)
            check_units(loss, variables, first, head)
        last = f"{head[-1]}/kernel"
        of_kernel = lambda kernel: without_dropout(loss)(with_params(variables, flat | {last: kernel}), first)  # noqa: E731
        warn_if_lost(of_kernel, flat[last], losses, inner)
    return LowRankNetwork(
        small,
        with_factors(network.apply, hidden),
        low_loss,
        to_dense,
        Savings(size_of(flat, head), size_of(flat_params(small), head)),
        losses,
        *found,
    )


def _gradient(loss: Callable, variables: PyTree, batches: PyTree, path: str, dtype: Any) -> Products:
    return gradient_products(loss, variables, f"params/{path}/kernel", batches, dtype=dtype)


def _to_dense(hidden: tuple[str, ...], widths: tuple[int, ...], variables: PyTree) -> PyTree:
    return with_params(variables, dense_layers(flat_params(variables), hidden, widths))
