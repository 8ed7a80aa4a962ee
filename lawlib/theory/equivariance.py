"""The law of parsimony for every optimizer that commutes with rotations.

A step is equivariant if f(U G V^T, U W V^T) = U f(G, W) V^T for all orthogonal U and V, one pair for each layer; the
momentum and the other memory of the optimizer turn along, numbers such as norms and counts stay.

**Theorem.** Let the setting be that of Theorem 1 of Yaras et al. 2023 (``theory.parsimony``): whitened inputs, a target
of rank r, eps-orthogonal layers of one width d, m = d - 2r > 0, and in Case 2 a last layer of r outputs that vanishes
on the idle directions. Let each step be W_l(t+1) = W_l(t) + f(G_l(t), W_l(t), memory) with an equivariant f, whose
memory starts as an equivariant function of W(0). It may use the norms of all layers, their losses and schedules. Then

    W_l(t) = U_l [[W~_l(t), 0], [0, rho_l(t) I_m]] V_l^T,   V_{l+1} = U_l,

with bases known at initialization. In Case 2 the last layer is [W~_L, 0] V_L^T. The idle values need not agree: rho_l
is that of layer l.

**Proof.** By induction, in the bases U_l, V_l, which change nothing of the loss and, by equivariance, nothing of the
step. Let every layer be diag(W~_l, rho_l I). The target is diag(Phi~, 0), so the gradient of layer l is diag(G~_l, g_l
I) with g_l = (prod_{k != l} rho_k) (prod_k rho_k), ``idle_gradients``; in Case 2, g_l = 0 and G_L = [G~_L, 0]. Turn
the idle directions by any orthogonal O of size m, the same O for all layers: with R = diag(I, O), R W_l R^T = W_l and
R G_l R^T = G_l, and the memory has the same symmetry. Hence the update X_l = f(G_l, W_l, memory) has R X_l R^T = X_l
for every O. With O = -I its two off-diagonal blocks are equal to their negatives, so they vanish. The idle block
commutes with every O: with reflections it is diagonal, and with permutations all its entries agree, so it is c_l I. The
new memory has the same form, for the same reason. For the last layer of Case 2, X R^T = X gives X = [X~, 0].

The step needs no smoothness, but it has to be a function: equivariant at *every* matrix, those with equal singular
values too, since the idle block has m of them. An optimizer that picks one basis of a singular space (GaLore, SOAP) is
equivariant at almost all matrices, and breaks the law when it picks from idle directions. ``equivariance_defect``
measures both.

**The recursions** of the idle value, with g from ``idle_gradients`` (0 in Case 2), step size eta, decay lambda:

- gradient descent, decay coupled (added to the gradient) or decoupled: rho+ = (1 - eta lambda) rho - eta g;
- heavy ball: rho+ = rho - eta v+, v+ = mu v + g; Nesterov: rho+ = rho - eta (g + mu v+);
- clipping by the global norm c: g is multiplied by min(1, c / ||G||), ||G||^2 = sum_l ||G~_l||_F^2 + m g_l^2;
- Muon: rho+ = rho - eta s phi(v / ||V||_F), ||V||_F^2 = ||V~||_F^2 + m v^2, with v the idle value of the momentum V, s
  the factor that depends on the shape, and phi the odd polynomial of Newton-Schulz (``newton_schulz``). So rho depends
  on the active block through one number, the norm, which differs from layer to layer;
- Shampoo: rho+ = rho - eta a^{-1/4} b^{-1/4} g, a and b the sums of g^2 (with their start), layer by layer.

What acts on single entries, such as Adam, RMSprop, AdaGrad or the sign, is not equivariant, and no such law holds.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lawlib.descent.steps import Iterate, transformed
from lawlib.networks.initializers import orthogonal
from lawlib.types import Array, Float, Matrix, PRNGKey, PyTree, Scalar, Weights, matmul

__all__ = [
    "check_arguments",
    "check_takes",
    "check_transform",
    "equivariance_defect",
    "idle_gradients",
    "newton_schulz",
]

# The coefficients of X, X X^T X and (X X^T)^2 X in one round, those of Jordan's Muon.
MUON = (3.4445, -4.7750, 2.0315)


def idle_gradients(rho: Float[Array, " L"]) -> Float[Array, " L"]:
    """The idle value of each layer's gradient, (prod_{k != l} rho_k) (prod_k rho_k), Case 1 of Theorem 1.

    The loss is 1/2 ||W_{L:1} X - Y||_F^2, a sum over entries, with whitened inputs.
    """
    return jax.grad(lambda rho: jnp.prod(rho) ** 2 / 2)(rho)


def newton_schulz(
    value: Float[Array, "..."],
    *,
    norm: Float[Array, "..."],
    coefficients: Sequence[float] = MUON,
    num_rounds: int = 5,
    eps: float = 1e-8,
) -> Float[Array, "..."]:
    """What Newton-Schulz makes of singular values ``value`` of matrices with the Frobenius norms ``norm``.

    x <- a x + b x^3 + c x^5, ``num_rounds`` times, from x = value / (norm + eps). Each singular value is treated by
    itself: V = U diag(v) V'^T becomes U diag(phi(v)) V'^T.
    """
    x, (a, b, c) = value / (norm + eps), coefficients
    return lax.fori_loop(0, num_rounds, lambda _, x: a * x + b * x**3 + c * x**5, x)


def equivariance_defect(
    transform: optax.GradientTransformation,
    *,
    key: PRNGKey,
    shapes: Sequence[tuple[int, int]] = ((12, 12), (8, 12)),
    repeated: int = 0,
    num_steps: int = 10,
) -> Scalar:
    """How far an optax transformation is from commuting with rotations; 0 up to rounding if it does.

    Two trees of matrices of these shapes, W and U W V^T with Haar U and V, one pair for each matrix, take
    ``num_steps`` steps on sum_l <W_l, G_l(t)> + 1/2 ||W_l||_F^2, with Gaussian G_l(t), and with U_l G_l(t) V_l^T. The
    defect is max_t ||W'(t) - U W(t) V^T||_F / max_t ||W(t) - W(0)||_F, the largest of all matrices: about 1e-14 in
    float64 for gradient descent and Muon, 0.4 for Adam. NaN is a transformation that diverges, and 0 one that does not
    move. What a transformation does after more steps, or in other layers than these, is not seen: RAdam is plain
    momentum for its first five.

    The smallest ``repeated`` singular values of each W_l and G_l(t) are equal to each other, in the same directions, as
    in the law. An optimizer that picks vectors from a singular space fails there and nowhere else. A transformation
    that draws noise from a key in its state gets the same noise twice and fails, as it should: noise that is
    isotropic on average moves idle directions at random. A schedule, and what needs the loss or a function that
    computes it (line searches), is no obstacle: steps are those of ``descent.steps.transformed``.

    Raises:
        TypeError: ``transform`` is no optax transformation, ``key`` no random key, a size or a count no whole number.
        ValueError: a shape is not two sizes of at least ``repeated``, there is none, ``num_steps`` is not positive, or
            the transformation fails on tuples of matrices of these shapes.

    Example:
        >>> import jax, optax
        >>> from lawlib.theory.equivariance import equivariance_defect
        >>> bool(equivariance_defect(optax.contrib.muon(0.1), key=jax.random.key(0)) < 1e-4)
        True
        >>> bool(equivariance_defect(optax.adam(0.1), key=jax.random.key(0)) > 0.1)
        True
    """
    check_transform(transform)
    check_arguments(key=key, shapes=shapes, repeated=repeated, num_steps=num_steps)
    key_frames, key_turns, key_weights, key_data = jax.random.split(key, 4)
    frames, turns = ([_pair(*both) for both in _keyed(key, shapes)] for key in (key_frames, key_turns))
    weights = _drawn(key_weights, frames, repeated)
    descent = transformed(_loss, transform)
    check_takes(transform, weights)

    def turned_along(key: PRNGKey) -> PyTree:
        data = _drawn(key, frames, repeated)
        return _stacked(data, _turned(data, turns))

    def both(iterates: Iterate, data: PyTree) -> tuple[Iterate, tuple[Array, Array]]:
        # Mapped, so that the transformation is traced and compiled once.
        iterates = jax.vmap(descent.step)(iterates, data)
        one, other = (tuple(W[place] for W in iterates.weights) for place in range(2))
        apart = [jnp.linalg.norm(W) for W in optax.tree.sub(other, _turned(one, turns))]
        sizes = [jnp.linalg.norm(W) for W in optax.tree.sub(one, weights)]
        return iterates, (jnp.stack(apart), jnp.stack(sizes))

    start = _stacked(descent.init(weights), descent.init(_turned(weights, turns)))
    # Drawn ahead of the steps, which leaves less to compile for each transformation.
    data = jax.vmap(turned_along)(jax.random.split(key_data, num_steps))
    apart, sizes = (jnp.max(found, axis=0) for found in lax.scan(both, start, data)[1])
    return jnp.max(apart / jnp.where(sizes == 0, 1, sizes))


def check_transform(transform: object) -> None:
    """Check that something has the form of an optax transformation.

    Raises:
        TypeError: it has not.
    """
    methods = [getattr(transform, name, None) for name in ("init", "update")]
    if isinstance(transform, type) or not all(map(callable, methods)):
        msg = (
            "an optax transformation is wanted, with functions init and update, such as optax.sgd(0.1), got "
            f"{transform!r}"
        )
        raise TypeError(msg)


def check_takes(transform: optax.GradientTransformation, weights: PyTree) -> None:
    """Check that a transformation takes steps on these weights, of which the shapes are enough.

    Raises:
        ValueError: it fails, or its updates or its state change their form.
    """
    given = (
        f"given gradients and weights as a tuple of matrices of shapes {[W.shape for W in jax.tree.leaves(weights)]}"
    )
    descent = transformed(lambda weights: _loss(weights, weights), transform)
    try:
        start = jax.eval_shape(descent.init, weights)
        after = jax.eval_shape(descent.step, start)
    except Exception as fault:
        reason = f"{type(fault).__name__}: {fault}".partition("\n")[0]
        msg = (
            f"the transformation fails with {reason!r}, {given}: use one that takes them; of a wrapper that wants "
            "another form, such as the pairs of optax.lookahead, use the inner transformation"
        )
        raise ValueError(msg) from fault
    for name, one, other in zip(("updates", "state"), start, after, strict=True):
        if _form(one) != _form(other):
            msg = f"the transformation's {name} must keep the shapes and dtypes of the start, {given}"
            raise ValueError(msg)


def _form(tree: PyTree) -> tuple:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def check_arguments(*, key: object, shapes: object, repeated: object, num_steps: object) -> None:
    """Check the arguments of ``equivariance_defect`` besides the transformation, all at once.

    Raises:
        TypeError: the key is not one random key, or a size or a count is no whole number.
        ValueError: a number is out of its range.
    """
    faults = []
    if not _is_key(key):
        faults.append(f"key must be one random key, such as jax.random.key(0), got {key!r}")
    pairs = isinstance(shapes, Sequence) and all(isinstance(s, Sequence) and all(map(_is_whole, s)) for s in shapes)
    if isinstance(shapes, str) or not pairs:
        faults.append(f"shapes must be pairs of whole numbers, such as ((12, 12), (8, 12)), got {shapes!r}")
    faults += [
        f"{name} must be a whole number, got {value!r}"
        for name, value in (("repeated", repeated), ("num_steps", num_steps))
        if not _is_whole(value)
    ]
    if faults:
        raise TypeError("; ".join(faults))
    _check_ranges(shapes, repeated, num_steps)


def _is_key(key: object) -> bool:
    """Whether something is one key, new or old (two numbers)."""
    if not isinstance(key, Array):
        return False
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key.shape == ()
    return key.shape == (2,) and key.dtype == jnp.uint32


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_ranges(shapes: Any, repeated: Any, num_steps: Any) -> None:
    fitting = all(len(shape) == 2 and 0 <= repeated <= min(shape) and min(shape) > 0 for shape in shapes)
    if not shapes or not fitting or num_steps < 1:
        msg = (
            "a defect needs one or more shapes (m, n), at most min(m, n) repeated singular values, and one step or "
            f"more, got shapes {tuple(shapes)}, repeated={repeated} and num_steps={num_steps}"
        )
        raise ValueError(msg)


def _keyed(key: PRNGKey, shapes: Sequence[tuple[int, int]]) -> zip:
    return zip(jax.random.split(key, len(shapes)), shapes, strict=True)


def _pair(key: PRNGKey, shape: tuple[int, int]) -> tuple[Matrix, Matrix]:
    """Haar orthogonal matrices of both sizes of a shape."""
    rows, columns = jax.random.split(key)
    return orthogonal(1.0)(rows, (shape[0],) * 2), orthogonal(1.0)(columns, (shape[1],) * 2)


def _drawn(key: PRNGKey, frames: list[tuple[Matrix, Matrix]], repeated: int) -> Weights:
    """Gaussian matrices, in the given frames diag(core, c I) with an identity of size ``repeated``."""
    shapes = [(len(left), len(right)) for left, right in frames]
    drawn = [_blocks(jax.random.normal(k, shape), repeated) for k, shape in _keyed(key, shapes)]
    return _turned(tuple(drawn), frames)


def _blocks(drawn: Matrix, repeated: int) -> Matrix:
    if repeated == 0:
        return drawn
    rows, columns = (size - repeated for size in drawn.shape)
    core = drawn.at[rows:].set(0).at[:, columns:].set(0)
    return core.at[rows:, columns:].set(drawn[-1, -1] * jnp.eye(repeated))


def _turned(matrices: Weights, turns: list[tuple[Matrix, Matrix]]) -> Weights:
    """U W V^T of each."""
    return tuple(matmul(matmul(U, W), V.T) for W, (U, V) in zip(matrices, turns, strict=True))


def _stacked(one: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda *pair: jnp.stack(pair), one, other)


def _loss(weights: Weights, data: Weights) -> Scalar:
    """A loss that turns along; its gradient in each W_l is G_l + W_l."""
    terms = (jnp.sum(W * G) + jnp.sum(W**2) / 2 for W, G in zip(weights, data, strict=True))
    return sum(terms, jnp.zeros((), weights[0].dtype))
