"""A low-rank MLP head for any Flax network: built in S_big, trained as it is, and dense weights back.

The head is L ``nn.Dense`` layers W_1, ..., W_L (their kernels are the transposes) with anything between them that acts
unit by unit, phi for short. Its low-rank form (Xu et al. 2026, eq. 10) is

    x -> W_L phi(U~ W~_{L-1} phi(W~_{L-2} ... phi(W~_1 V~^T x + b~_1) ... + b~_{L-2}) + b_{L-1}) + b_L

with r units in every hidden layer but the last, W~_l of r x r, and V~, U~, W~_l, W_L and the biases all trained. The
network itself is not rewritten: it runs as it stands, and its ``nn.Dense`` calls at the head's paths are intercepted.
"""

import functools as ft
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from flax.traverse_util import flatten_dict, unflatten_dict

from lawlib.gradient_spectra import kernel_gradient_products
from lawlib.initializers import orthogonal
from lawlib.low_rank_start import INNER, padded_basis, positive_qr
from lawlib.spectra import Certified, krylov_triplets
from lawlib.subspaces import SubspaceSum
from lawlib.theory.smooth_mlp import big_subspace
from lawlib.types import Array, Float, Matrix, PRNGKey, PyTree, Scalar

__all__ = ["LowRankNetwork", "Savings", "Size", "low_rank_mlp"]

# The factors of a low-rank layer, in the order in which a row of inputs meets them.
FACTORS = ("right", "inner", "left")
# They look at all units at once, and need not hold parameters.
NORMALIZATIONS = (nn.BatchNorm, nn.GroupNorm, nn.InstanceNorm, nn.LayerNorm, nn.RMSNorm)

_matmul = ft.partial(jnp.matmul, precision="highest")


class Size(NamedTuple):
    """What a network holds and what its head computes, counted from shapes.

    ``parameters`` are those of the whole network and ``parameter_bytes`` their memory, ``head_parameters`` those of the
    head with its biases; ``head_multiply_adds`` is for one row of inputs, in a forward pass.
    """

    parameters: int
    parameter_bytes: int
    head_parameters: int
    head_multiply_adds: int

    def optimizer_bytes(self, per_parameter: int) -> int:
        """Memory of an optimizer that keeps so many numbers a parameter: 0 for SGD, 1 with momentum, 2 for Adam."""
        return per_parameter * self.parameter_bytes


class Savings(NamedTuple):
    """The network before and after."""

    before: Size
    after: Size


class LowRankNetwork(NamedTuple):
    """A network whose head has low rank: how to run it, where it starts, what it saves, and the way back.

    ``variables`` are the network's with, for each hidden layer of the head, in Flax's convention (rows of inputs):
    ``inner`` = W~_l^T (r, r), in the first ``right`` = V~ (d, r), in the last ``left`` = U~^T (r, m), and the bias, if
    there is one, of r or m entries. ``apply(variables, ...)`` is ``network.apply`` and ``loss(variables, batch)`` the
    loss that was given, both of such variables. ``to_dense(variables)`` are variables of the original network that
    compute the same, for any activation: the units beyond the first r say phi(0) to rows of zeros.

    ``gradient`` (its ``certified`` and ``gap``) and ``big`` (its ``kept``) say how well S_big is determined
    (``spectra.Certified``, ``subspaces.SubspaceSum``); both are None where the basis was given.
    """

    variables: PyTree
    apply: Callable[..., Any]
    loss: Callable[[PyTree, Any], Scalar]
    to_dense: Callable[[PyTree], PyTree]
    savings: Savings
    gradient: Certified | None
    big: SubspaceSum | None


def low_rank_mlp(
    key: PRNGKey,
    network: nn.Module,
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

    ``loss(variables, batch)`` calls ``network.apply``; a ``jax.jit`` around it is taken off. One inside it, or a
    ``jax.checkpoint`` around it, hides the layers. ``batches`` is a tree of arrays whose leading axis runs over the
    batches; the gradient is that of the losses *summed* over them, and only its products are formed. It is the gradient
    through the layer's outputs: an L2 penalty on the kernels in the loss is no part of it, and acts on the factors of
    the low-rank network. ``layers`` are the paths of the head's ``nn.Dense`` layers in order, "Dense_0" or
    "head/Dense_0"; by default all that run and have their weights in ``variables``.

    V~ spans S_big = span[R, W_1^T L], from the K = ``num_classes`` leading singular vectors L, R of the gradient in
    W_1, by default as many as there are outputs, and random directions beside it up to r = ``rank`` >= 2K (default
    2K). With cross-entropy a gradient has K - 1 directions that carry signal, so that the K-th need not be certified.
    ``basis`` takes V~ from elsewhere, orthonormal. The bases are carried on by W_l B_{l-1} = B_l R_l, B_0 = V~, R_l
    upper triangular and its diagonal not negative: defined for any weights, and B_l = W_l B_{l-1} / eps for square
    eps-orthogonal ones (eq. 8). U~ = B_{L-1}, and W~_l = R_l ("transported": the whole network for linear units
    without biases and x in the span of V~) or eps-orthogonal with eps = ||W_l||_F / sqrt(its smaller side) ("drawn",
    as the paper's text has it). Biases are kept where they have as many entries as before, and B_l^T b_l elsewhere.
    What is kept is not copied: to donate the low-rank variables to a step is to give up the original ones.

    What stands between the layers must act unit by unit, as activations and dropout do. Normalizations and layers with
    weights are refused; anything else that looks at several units at once (a softmax, a skip connection around some
    layers of the head) is not seen, or shapes disagree when the network runs. A layer inside ``nn.scan``, ``nn.vmap``
    or ``nn.remat`` is not supported.

    Raises:
        ValueError: layers that the network does not run, or not once and in this order; something between them that
            does not act unit by unit; a rank outside 2K..the narrowest side; an unknown ``inner``; a basis that does
            not fit; variables in boxes (``nn.Partitioned``).
    """
    # Traced under jit once, a loss is not seen to run again. Of a method nothing is taken off: it would lose its self.
    if not inspect.ismethod(loss):
        loss = inspect.unwrap(loss, stop=lambda outer: not isinstance(outer, jax.stages.Wrapped))
    head = _head(loss, variables, batches, layers)
    flat = _flat(variables)
    widths = _widths(flat, head)
    _check_inner(inner)
    key_gradient, key_basis, key_inner = jax.random.split(key, 3)
    gradient = big = None
    if basis is None:
        classes, rank = _check_rank(widths, num_classes, rank)
        gradient, big = _s_big(key_gradient, loss, variables, head[0], batches, classes)
        basis = padded_basis(key_basis, big.basis, rank)
    else:
        _check_basis(basis, widths, num_classes, rank)
    small = _with_params(variables, flat | _low_rank(key_inner, flat, head, basis, inner))
    return LowRankNetwork(
        small,
        _intercepted(network.apply, head[:-1]),
        _intercepted(loss, head[:-1]),
        ft.partial(_to_dense, head[:-1], widths),
        Savings(_size(variables, head), _size(small, head)),
        gradient,
        big,
    )


# The head, as the network runs ----------------------------------------------------------------------------------------


class _Call(NamedTuple):
    """A module as it was called: its path, its class, and whether it looks at more than one unit at once."""

    path: str
    kind: str
    is_dense: bool
    mixes: bool


def _head(
    loss: Callable[[PyTree, Any], Scalar], variables: PyTree, batches: PyTree, layers: Sequence[str] | None
) -> tuple[str, ...]:
    """The paths of the head's layers, checked against what runs."""
    held = _held(variables)
    calls = _calls(loss, variables, batches)
    dense = [call.path for call in calls if call.is_dense]
    head = tuple(dict.fromkeys(path for path in dense if path in held) if layers is None else layers)
    if isinstance(layers, str) or not held.issuperset(head):
        msg = f"layers must be paths of layers with a kernel in the variables, {sorted(held)}, got {layers!r}"
        raise ValueError(msg)
    if len(head) < 2 or [path for path in dense if path in head] != list(head):
        msg = (
            f"a head is two or more nn.Dense layers, each run once and named in the order in which they run, got "
            f"{list(head)}; seen to run are {dense} (a loss inside jax.jit or jax.checkpoint hides them, and a class "
            f"of your own that computes another product, or dot_general, is none)"
        )
        raise ValueError(msg)
    paths = [call.path for call in calls]
    between = calls[paths.index(head[0]) : paths.index(head[-1])]
    if wrong := [f"{call.kind} at {call.path!r}" for call in between if call.mixes and call.path not in head]:
        msg = (
            f"what stands between the layers of the head must act unit by unit, since the low-rank network has fewer "
            f"units there: {', '.join(wrong)} does not; name other layers than {list(head)}"
        )
        raise ValueError(msg)
    return head


def _held(variables: PyTree) -> set[str]:
    """The paths of the layers whose kernels the variables hold."""
    if not isinstance(variables, Mapping) or "params" not in variables:
        msg = "variables must hold the collection 'params', as network.init returns them"
        raise ValueError(msg)
    flat = _flat(variables)
    if boxed := [path for path, held in flat.items() if isinstance(held, nn.meta.AxisMetadata)]:
        msg = f"variables must be arrays, and {boxed} are in boxes: give flax.linen.meta.unbox(variables)"
        raise ValueError(msg)
    return {path.rpartition("/")[0] for path in flat if path.rpartition("/")[2] == "kernel"}


def _calls(loss: Callable[[PyTree, Any], Scalar], variables: PyTree, batches: PyTree) -> list[_Call]:
    """The modules in the order of their calls, from a run on shapes alone."""
    calls = []

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if context.method_name == "__call__":
            own = [held for group in module.variables.values() for held in group.values()]
            weights = any(jnp.size(held) > 1 for held in own if not isinstance(held, Mapping))
            mixes = weights or isinstance(module, NORMALIZATIONS)
            calls.append(_Call("/".join(module.path), type(module).__name__, _is_dense(module), mixes))
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        jax.eval_shape(lambda held, data: loss(held, jax.tree.map(lambda x: x[0], data)), variables, batches)
    return calls


def _is_dense(module: nn.Module) -> bool:
    """Whether it multiplies by its kernel and adds its bias and nothing else, as a class derived from Dense may."""
    is_plain = isinstance(module, nn.Dense) and type(module).__call__ is nn.Dense.__call__
    return is_plain and module.dot_general is None and module.dot_general_cls is None


def _intercepted(function: Callable, hidden: tuple[str, ...]) -> Callable:
    """A function that applies the network, with the low-rank form of its hidden layers."""

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if not isinstance(module, nn.Dense) or context.method_name != "__call__":
            return call(*args, **kwargs)
        path = "/".join(module.path)
        if path not in hidden:
            return call(*args, **kwargs)
        return _applied(module, path, args[0] if args else kwargs["inputs"])

    def low_rank(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(intercept):
            return function(*args, **kwargs)

    return low_rank


def _applied(module: nn.Dense, path: str, x: Array) -> Array:
    """The product of the rows of x with the layer's factors, in the dtype and the precision of the layer."""
    held = module.variables.get("params", {})
    operands: list[Any] = module.promote_dtype(x, held.get("bias"), *_factors(held, path), dtype=module.dtype)
    x, bias, *factors = operands
    x = ft.reduce(ft.partial(jnp.matmul, precision=module.precision), factors, x)
    return x if bias is None else x + jnp.reshape(bias, (1,) * (x.ndim - 1) + bias.shape)


def _factors(held: Mapping[str, Array], path: str) -> list[Array]:
    factors = [held[name] for name in FACTORS if name in held]
    if not factors:
        msg = f"the low-rank network needs low-rank variables: the layer {path!r} holds {sorted(held)}, not 'inner'"
        raise ValueError(msg)
    return factors


# Where it starts ------------------------------------------------------------------------------------------------------


def _s_big(
    key: PRNGKey, loss: Callable, variables: PyTree, path: str, batches: PyTree, num_classes: int
) -> tuple[Certified, SubspaceSum]:
    """S_big of the first layer, from the gradient in its kernel W_1^T, whose left vectors are W_1's right ones."""
    kernel = _wide(_flat(variables)[f"{path}/kernel"])
    products = kernel_gradient_products(loss, variables, path, batches, kernel.dtype)
    found = krylov_triplets(key, products, num_classes)
    return found, big_subspace(kernel.T, found.triplets.right, found.triplets.left)


def _low_rank(
    key: PRNGKey, flat: dict[str, Any], head: tuple[str, ...], basis: Matrix, inner: str
) -> dict[str, Array | None]:
    """The parameters of the low-rank hidden layers; None where one of the network has no place any more."""
    hidden = head[:-1]
    small: dict[str, Array | None] = {}
    B = _wide(basis)
    for layer, (path, k) in enumerate(zip(hidden, jax.random.split(key, len(hidden)), strict=True), start=1):
        kernel, bias = flat[f"{path}/kernel"], flat.get(f"{path}/bias")
        held = {"right": B} if layer == 1 else {}
        B, R = positive_qr(_matmul(_wide(kernel).T, B))
        held["inner"] = R.T if inner == "transported" else _drawn(k, _wide(kernel), B.shape[1])
        if layer == len(hidden):
            held["left"] = B.T
        elif bias is not None:
            held["bias"] = _matmul(B.T, _wide(bias))
        small |= {f"{path}/{name}": value.astype(kernel.dtype) for name, value in held.items()}
        small[f"{path}/kernel"] = None
    return small


def _drawn(key: PRNGKey, kernel: Matrix, rank: int) -> Matrix:
    scale = jnp.linalg.norm(kernel) / min(kernel.shape) ** 0.5
    return orthogonal(scale)(key, (rank, rank), kernel.dtype.type)


def _wide(x: Array) -> Array:
    """In at least 32 bits, which decompositions need."""
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


# And back -------------------------------------------------------------------------------------------------------------


def _to_dense(hidden: tuple[str, ...], widths: tuple[int, ...], variables: PyTree) -> PyTree:
    """W_1 = [W~_1 V~^T; 0], W_l = [W~_l 0; 0 0], W_{L-1} = [U~ W~_{L-1} 0], biases padded with zeros."""
    flat = _flat(variables)
    for path, shape in zip(hidden, itertools.pairwise(widths), strict=False):
        held = {at: flat.pop(at) for at in tuple(flat) if at.rpartition("/")[0] == path}
        held = {at.rpartition("/")[2]: value for at, value in held.items()}
        flat[f"{path}/kernel"] = _padded(ft.reduce(_matmul, _factors(held, path)), shape)
        if "bias" in held:
            flat[f"{path}/bias"] = _padded(held["bias"], shape[1:])
    return _with_params(variables, flat)


def _padded(x: Array, shape: tuple[int, ...]) -> Array:
    return jnp.pad(x, [(0, size - given) for size, given in zip(shape, x.shape, strict=True)])


def _flat(variables: PyTree) -> dict[str, Any]:
    return flatten_dict(variables["params"], sep="/", keep_empty_nodes=True)


def _with_params(variables: PyTree, flat: dict[str, Any]) -> PyTree:
    held = {path: value for path, value in flat.items() if value is not None}
    changed = {**variables, "params": unflatten_dict(held, sep="/")}
    return FrozenDict(changed) if isinstance(variables, FrozenDict) else changed


def _size(variables: PyTree, head: tuple[str, ...]) -> Size:
    arrays = jax.tree.leaves(variables["params"])
    flat = _flat(variables)
    own = [value for path, value in flat.items() if path.rpartition("/")[0] in head]
    return Size(
        sum(x.size for x in arrays),
        sum(x.size * x.dtype.itemsize for x in arrays),
        sum(x.size for x in own),
        sum(x.size for x in own if x.ndim == 2),
    )


# What is allowed ------------------------------------------------------------------------------------------------------


def _widths(flat: dict[str, Any], head: tuple[str, ...]) -> tuple[int, ...]:
    """(d, m_1, ..., m_{L-1}, K), where each layer takes as many units as the one before it has."""
    shapes = [flat[f"{path}/kernel"].shape for path in head]
    if any(len(shape) != 2 for shape in shapes) or any(a[-1] != b[0] for a, b in itertools.pairwise(shapes)):
        named = dict(zip(head, shapes, strict=True))
        msg = f"each layer of a head takes the units of the one before it, got kernels (in, out) {named}"
        raise ValueError(msg)
    return (shapes[0][0], *(shape[1] for shape in shapes))


def _check_inner(inner: str) -> None:
    if inner not in INNER:
        msg = f"inner must be one of {INNER}, got {inner!r}"
        raise ValueError(msg)


def _check_rank(widths: tuple[int, ...], num_classes: int | None, rank: int | None) -> tuple[int, int]:
    """K and r; by default as many classes as outputs, and r = 2K."""
    classes = widths[-1] if num_classes is None else num_classes
    r, most = 2 * classes if rank is None else rank, min(widths[:-1])
    if classes < 1 or not 2 * classes <= r <= most:
        msg = (
            f"S_big needs num_classes >= 1 and 2 num_classes <= rank <= {most}, the narrowest of the head's inputs and "
            f"hidden layers {widths[:-1]}; got num_classes={classes} and rank={r}"
        )
        raise ValueError(msg)
    return classes, r


def _check_basis(basis: Matrix, widths: tuple[int, ...], num_classes: int | None, rank: int | None) -> None:
    d, r = basis.shape
    if num_classes is not None or rank not in (None, r) or d != widths[0] or r > min(widths[:-1]):
        msg = (
            f"a basis of shape (d={widths[0]}, r <= {min(widths[:-1])}) stands for num_classes and rank, got one of "
            f"shape {basis.shape} with num_classes={num_classes} and rank={rank}"
        )
        raise ValueError(msg)
