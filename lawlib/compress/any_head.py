"""A low-rank MLP head in any network: a Flax NNX or Equinox model, or a plain tree, with small kernels in its leaves.

The hidden layers are those of ``head``, x -> W_L phi(U~ W~_{L-1} phi(... phi(W~_1 V~^T x + b~_1) ...) + b_{L-1}) + b_L.
With r units in all of them but the last, the products of their factors are small, (d, r), (r, r) and (r, m): the
low-rank network is the given one with these as its kernels, by the leaf. No layer is swapped and no call intercepted;
a Flax linen layer checks the shapes of its kernels, and has ``head.low_rank_mlp``. For a trained network, which needs
all its units, the products have the shapes of the kernels.
"""

import functools as ft
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lawlib.checks import is_concrete
from lawlib.compress.head_checks import UNIT_BY_UNIT, Losses, check_losses, warn_if_lost
from lawlib.compress.head_start import (
    TRUNCATED,
    Savings,
    dense_layers,
    factors_of,
    layer_of,
    size_of,
    started,
    widths_of,
)
from lawlib.frameworks.nnx import functional, holds_modules, split
from lawlib.linalg.batches import trace_of_a_batch
from lawlib.linalg.gradients import gradient_products
from lawlib.linalg.kernel_uses import as_used, equation_names
from lawlib.linalg.leaves import Leaf, Where, array_leaves, pick
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.spectra import Certified
from lawlib.linalg.subspaces import SubspaceSum
from lawlib.types import Array, Float, PRNGKey, PyTree, Scalar, matmul

__all__ = ["LowRankHead", "low_rank_head"]

# What draws random numbers, in all releases of JAX: masks of other shapes differ.
RANDOM = ("random_", "threefry", "rng_")


class LowRankHead(NamedTuple):
    """A network whose head has low rank, as ``head.LowRankNetwork``, for any tree of parameters.

    ``variables`` are a flat dictionary of all floating arrays of the network, by name; each hidden kernel KERNEL is
    replaced by its factors "KERNEL/right" = V~ (d, r) in the first layer, "KERNEL/inner" = W~_l^T (r, r), and
    "KERNEL/left" = U~^T (r, m) in the last, or after ``inner="truncated"`` by all three. The bias of a layer is
    "KERNEL/bias", and the last kernel "KERNEL/kernel", (inputs, outputs). ``loss(variables, batch)`` is the given loss,
    ``model(variables)`` the low-rank network, a tree or model like the given one whose kernels are the products of the
    factors, and ``to_dense(variables)`` one with kernels of the given shapes that computes the same function.
    ``savings``, ``losses``, ``gradient`` and ``big`` are those of ``LowRankNetwork``.
    """

    variables: dict[str, Array]
    loss: Callable[[dict[str, Array], Any], Scalar]
    model: Callable[[dict[str, Array]], PyTree]
    to_dense: Callable[[dict[str, Array]], PyTree]
    savings: Savings
    losses: Losses
    gradient: Certified | None
    big: SubspaceSum | None


class _Head(NamedTuple):
    """The kernels of a head in order and how each is read, the name of each bias, and the network's other arrays."""

    kernels: dict[str, Matricization]
    biases: dict[str, str]
    arrays: dict[str, Any]
    tree: Callable[[list[Any]], PyTree]

    def flat(self) -> dict[str, Array]:
        """The floating arrays of the given network, in the names of ``LowRankHead.variables``."""
        held = {f"{name}/kernel": read.matrix(self.arrays[name]) for name, read in self.kernels.items()}
        held |= {f"{name}/bias": self.arrays[bias] for name, bias in self.biases.items()}
        own = {*self.kernels, *self.biases.values()}
        others = {name: x for name, x in self.arrays.items() if name not in own}
        return held | {name: x for name, x in others.items() if jnp.issubdtype(x.dtype, jnp.floating)}

    def network(self, flat: dict[str, Array]) -> PyTree:
        """The tree or model with these arrays, in which a kernel is the product of its factors."""
        arrays = {name: flat.get(name, x) for name, x in self.arrays.items()}
        for name, read in self.kernels.items():
            held = layer_of(flat, name)
            K = held["kernel"] if "kernel" in held else ft.reduce(matmul, factors_of(held, name))
            arrays[name] = K if read == Matricization() else K.T
            if "bias" in held:
                arrays[self.biases[name]] = held["bias"]
        return self.tree([*arrays.values()])


def low_rank_head(
    key: PRNGKey,
    loss: Callable[[PyTree, Any], Scalar],
    params: PyTree,
    batches: PyTree,
    *,
    layers: Sequence[Where],
    num_classes: int | None = None,
    rank: int | None = None,
    inner: str = "transported",
    basis: Float[Array, "d r"] | None = None,
) -> LowRankHead:
    """The low-rank form of an MLP head, starting in S_big, for any tree of parameters (Xu et al. 2026, Section 5).

    ``loss(params, batch)``, ``params`` and ``batches`` are those of ``linalg.gradients.gradient_products``. ``layers``
    are the kernels of the head in order, two or more, by name or by functions that pick them; each is a matrix by which
    the loss multiplies in one way, and its bias is the array beside it with as many entries as the layer has units.
    ``num_classes``, ``rank``, ``inner`` and ``basis``, the start and the warning are those of ``head.low_rank_mlp``.
    The factors are multiplied in each call of the loss, which costs d r^2 operations where a batch of N samples costs
    N d r. After ``inner="truncated"``, which preserves a trained network, the products have the kernels' shapes: there
    are fewer parameters to train, and as many operations in a forward pass as before.

    Except with "truncated", everything between the layers must act unit by unit and fit any number of units. Outside
    jit, the losses of the low-rank network and of its dense form are then compared on the first batch, unless the loss
    draws random numbers. What combines the units of the last hidden layer, which keeps them all, changes neither, and
    is not seen.

    Raises:
        ValueError: fewer than two layers; leaves that ``leaves.pick`` refuses; kernels that the loss does not multiply
            by in one way, as matrices, and in this order; a rank outside 2K..the narrowest side; a basis of another
            shape; a low-rank network that does not run, or differs from its dense form.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> def loss(params, batch):
        ...     return jnp.sum((jnp.tanh(batch[0] @ params["first"]) @ params["last"] - batch[1]) ** 2)
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> shapes = {"first": (20, 64), "last": (64, 3)}
        >>> params = {name: jax.random.normal(k, shape) / 8 for k, (name, shape) in zip(keys, shapes.items())}
        >>> batches = jax.random.normal(keys[2], (1, 50, 20)), jnp.zeros((1, 50, 3))
        >>> low = lawlib.compress.low_rank_head(keys[2], loss, params, batches, layers=["first", "last"])
        >>> low.variables["first/right"].shape, low.to_dense(low.variables)["first"].shape
        ((20, 6), (20, 64))
    """
    head, plain, program = _found(loss, params, batches, layers)
    merged = split(params)[1] if holds_modules(params) else lambda tree: tree
    names, flat, is_truncated = tuple(head.kernels), head.flat(), inner == TRUNCATED
    key_gradient, key_start, key_check = jax.random.split(key, 3)
    first = jax.tree.map(lambda x: x[0], batches)
    of_flat = lambda flat, batch: plain(head.network(flat), batch)  # noqa: E731
    changed, found = started(
        (key_gradient, key_start),
        flat,
        names,
        lambda name, dtype: gradient_products(
            loss, params, name, batches, matricization=head.kernels[name], dtype=dtype
        ),
        lambda flat: of_flat(_present(flat), first),
        num_classes=num_classes,
        rank=rank,
        inner=inner,
        basis=basis,
    )
    small = _present(flat | changed)
    widths = widths_of(flat, names)
    dense = lambda flat: dense_layers(flat, names[:-1], widths)  # noqa: E731
    losses = _losses(of_flat, flat, small, first)
    if is_concrete(losses):
        if not (is_truncated or any(name.startswith(RANDOM) for name in equation_names(program.jaxpr))):
            check_losses(key_check, of_flat, small, dense(small), first, names, max(widths))
        last = f"{names[-1]}/kernel"
        warn_if_lost(lambda kernel: of_flat(flat | {last: kernel}, first), flat[last], losses, inner)
    before, after = size_of(flat, names), size_of(small, names)
    return LowRankHead(
        small,
        of_flat,
        lambda flat: merged(head.network(flat)),
        lambda flat: merged(head.network(dense(flat))),
        Savings(before, after._replace(head_multiply_adds=before.head_multiply_adds) if is_truncated else after),
        losses,
        *found,
    )


def _present(flat: dict[str, Array | None]) -> dict[str, Array]:
    return {at: x for at, x in flat.items() if x is not None}


def _losses(loss: Callable, flat: dict[str, Array], small: dict[str, Array], batch: Any) -> Losses:
    before = loss(flat, batch)
    try:
        return Losses(before, loss(small, batch))
    except (TypeError, ValueError) as error:
        msg = f"the low-rank network does not run ({str(error).splitlines()[0]}): {UNIT_BY_UNIT}"
        raise ValueError(msg) from error


# The head. ------------------------------------------------------------------------------------------------------------


def _found(loss: Callable, params: PyTree, batches: PyTree, layers: Any) -> tuple[_Head, Callable, Any]:
    """The head, loss(tree, batch) of the network's tree, and the program of one batch."""
    if isinstance(layers, str) or not isinstance(layers, Sequence) or len(layers) < 2:
        msg = f"a head is a list of two or more kernels, in the order in which they are used, got {layers!r}"
        raise ValueError(msg)
    modules = holds_modules(params)
    plain, state, _ = functional(loss, params) if modules else (loss, params, "")
    arrays, names, tree = array_leaves(state)
    program = trace_of_a_batch(lambda arrays, batch: plain(tree(arrays), batch), arrays, batches)
    wheres = [functional(loss, params, where)[2] if modules else where for where in layers]
    leaves = [pick(state, where) for where in wheres]
    kernels = {leaf.name: _read(leaf, program) for leaf in leaves}
    if len(kernels) < len(leaves):
        msg = f"a head has each layer once, got {[leaf.name for leaf in leaves]}"
        raise ValueError(msg)
    held = dict(zip(names, arrays, strict=True))
    units = {leaf.name: kernels[leaf.name].shape(leaf.value)[1] for leaf in leaves}
    biases = {name: _bias(name, held, count) for name, count in units.items()}
    return _Head(kernels, {name: bias for name, bias in biases.items() if bias}, held, tree), plain, program


def _read(leaf: Leaf, program: Any) -> Matricization:
    read = as_used(program.jaxpr, leaf.place)
    if read is None or leaf.value.ndim != 2 or {read.reduction_axis, read.output_axis} != {0, 1}:
        msg = (
            f"a layer of the head needs a kernel that is a matrix, and by which the loss multiplies in one way; "
            f"{leaf.name!r} has shape {leaf.value.shape} and is used as {read}"
        )
        raise ValueError(msg)
    return read


def _bias(kernel: str, held: dict[str, Any], units: int) -> str:
    """The array beside a kernel with one entry for each unit; empty if there is none."""
    # The variables of Flax NNX are nodes of their own: layer/kernel/value and layer/bias/value.
    parts = kernel.split("/")
    depth = 2 if parts[-1] == "value" and len(parts) > 1 else 1
    beside = [name for name in held if name.split("/")[:-depth] == parts[:-depth] and name != kernel]
    fitting = [name for name in beside if len(name.split("/")) == len(parts) and held[name].shape == (units,)]
    if len(fitting) > 1:
        msg = f"the layer {kernel!r} has one bias or none, and {fitting} have the shape of one: nest the layers' arrays"
        raise ValueError(msg)
    return fitting[0] if fitting else ""
