"""Losses with their reduction in their name, and descent steps as pairs of pure functions.

The papers use two reductions, which change the meaning of a step size. Over d_y outputs and N samples
``sum = d_y N mean``, so a step of size eta on the mean loss is a step of size ``eta / (d_y N)`` on the sum.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lawlib.types import Array, Float, Int, Matrix, PRNGKey, PyTree, Rate, Scalar

__all__ = [
    "Descent",
    "Evaluated",
    "Iterate",
    "cross_entropies",
    "epoch_batches",
    "evaluated",
    "gradient_descent",
    "heavy_ball",
    "masked_mean_squared_error",
    "masked_sum_squared_error",
    "mean_cross_entropy",
    "mean_squared_error",
    "sum_squared_error",
    "summed_over_batches",
    "taken_by",
    "transformed",
]


class Iterate(NamedTuple):
    """The state of a descent: the weights, and the memory of the method."""

    weights: PyTree
    memory: PyTree


class Evaluated(NamedTuple):
    """The loss and its gradient at the present weights."""

    loss: Scalar
    gradients: PyTree


class Descent(NamedTuple):
    """A method of descent: ``init(weights)`` starts it, ``step(iterate, *data, **rates)`` makes one step.

    ``evaluated`` starts with ``init(weights, *data)``. ``data`` are the arguments of the loss after the weights;
    ``rates`` (step size, weight decay, momentum) may be traced numbers, so that a sweep over them compiles once.
    """

    init: Callable[..., Iterate]
    step: Callable[..., Iterate]


def sum_squared_error(outputs: Matrix, targets: Matrix) -> Scalar:
    """Half the squared error summed over outputs and samples: 1/2 ||outputs - targets||_F^2 (a sum, not a mean)."""
    return jnp.sum(jnp.square(outputs - targets)) / 2


def mean_squared_error(outputs: Matrix, targets: Matrix) -> Scalar:
    """Half the squared error averaged over all d_y N entries: 1/2 mean (outputs - targets)^2."""
    return jnp.mean(jnp.square(outputs - targets)) / 2


def masked_sum_squared_error(outputs: Matrix, targets: Matrix, mask: Matrix) -> Scalar:
    """Half the squared error summed over the observed entries: 1/2 ||mask . (outputs - targets)||_F^2.

    ``mask`` is 1 where an entry is observed and 0 elsewhere (Yaras et al. 2023, eq. 9).
    """
    return sum_squared_error(mask * outputs, mask * targets)


def masked_mean_squared_error(outputs: Matrix, targets: Matrix, mask: Matrix) -> Scalar:
    """Half the squared error on the observed entries, averaged over *all* entries: masked entries count as zeros."""
    return mean_squared_error(mask * outputs, mask * targets)


def mean_cross_entropy(outputs: Matrix, targets: Matrix) -> Scalar:
    """-1/N sum_i sum_k targets_ki log softmax(outputs_i)_k, averaged over the N samples (columns) and summed over K."""
    return -jnp.mean(_log_likelihoods(outputs, targets))


def cross_entropies(outputs: Matrix, targets: Matrix) -> Float[Array, " N"]:
    """-sum_k targets_ki log softmax(outputs_i)_k of each of the N samples (columns), summed over K and not averaged."""
    return -_log_likelihoods(outputs, targets)


def _log_likelihoods(outputs: Matrix, targets: Matrix) -> Float[Array, " N"]:
    return jnp.sum(targets * jax.nn.log_softmax(outputs, axis=0), axis=0)


def epoch_batches(
    key: PRNGKey, *, epoch: Int[Array, ""] | int, num_samples: int, batch_size: int
) -> Int[Array, "num_batches batch_size"]:
    """The sample numbers of every minibatch of an epoch: a permutation drawn by ``fold_in(key, epoch)``, cut in rows.

    There are floor(num_samples / batch_size) batches without replacement. The samples of an incomplete last batch are
    left out of this epoch; the next epoch's permutation leaves out others. Use X[:, row] for samples in columns.

    Raises:
        ValueError: batch_size is outside 1..num_samples.
    """
    if not 1 <= batch_size <= num_samples:
        msg = f"batch_size must be in 1..{num_samples}, the number of samples, got {batch_size}"
        raise ValueError(msg)
    num_batches = num_samples // batch_size
    order = jax.random.permutation(jax.random.fold_in(key, epoch), num_samples)
    return order[: num_batches * batch_size].reshape(num_batches, batch_size)


def summed_over_batches(loss: Callable[..., Scalar]) -> Callable[[PyTree, tuple], Scalar]:
    """The sum of ``loss(weights, *batch)`` over batches, as a function of the weights and a tuple of arrays.

    The leading axis of every array runs over the batches, which are taken one at a time. The derivative in the weights
    is computed in the same pass as the value, so that only the activations of one batch are in memory; there is no
    derivative in the batches.
    """

    @jax.custom_vjp
    def total(weights: PyTree, batches: tuple) -> Scalar:
        return jnp.sum(lax.map(lambda batch: loss(weights, *batch), batches))

    def forward(weights: PyTree, batches: tuple) -> tuple[Scalar, PyTree]:
        def add(sums: PyTree, batch: tuple) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, sums, jax.value_and_grad(loss)(weights, *batch)), None

        one = jax.tree.map(lambda x: x[0], batches)
        shapes = jax.eval_shape(jax.value_and_grad(loss), weights, *one)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return lax.scan(add, zeros, batches)[0]

    def backward(gradients: PyTree, cotangent: Scalar) -> tuple[PyTree, None]:
        return jax.tree.map(lambda G: cotangent * G, gradients), None

    total.defvjp(forward, backward)
    return total


def gradient_descent(loss: Callable[..., Scalar]) -> Descent:
    """Gradient descent with weight decay on ``loss(weights, *data)``.

    W <- (1 - eta lambda) W - eta grad loss(W), all layers from the old weights (Yaras et al. 2023, eq. 4).
    eta and lambda are numbers, or trees of numbers, each for a whole branch of the weights.
    ``step(iterate, *data, step_size, weight_decay)``; equal to a step on loss + lambda/2 sum_l ||W_l||_F^2.

    Example:
        >>> import jax.numpy as jnp, lawlib
        >>> descent = lawlib.gradient_descent(lambda W: jnp.sum((W - 1.0) ** 2) / 2)
        >>> iterate = descent.init(jnp.zeros((2, 2)))
        >>> for _ in range(20):
        ...     iterate = descent.step(iterate, step_size=0.5, weight_decay=0.25)
        >>> round(float(iterate.weights[0, 0]), 4)  # the minimum is at 1 / (1 + 0.25)
        0.8
    """

    def step(iterate: Iterate, *data: PyTree, step_size: PyTree[Rate], weight_decay: PyTree[Rate]) -> Iterate:
        gradients = jax.grad(loss)(iterate.weights, *data)
        return Iterate(_decayed_step(iterate.weights, gradients, step_size, weight_decay), ())

    return Descent(lambda weights: Iterate(weights, ()), step)


def evaluated(loss: Callable[..., Scalar]) -> Descent:
    """Gradient descent as above, with the loss and the gradient of the present weights in its memory (``Evaluated``).

    A stopping rule then reads the loss at no cost; computing it again takes a third of a step of a deep network.
    ``init(weights, *data)``, ``step(iterate, *data, step_size, weight_decay)``.
    """

    def at(weights: PyTree, *data: PyTree) -> Iterate:
        return Iterate(weights, Evaluated(*jax.value_and_grad(loss)(weights, *data)))

    def step(iterate: Iterate, *data: PyTree, step_size: PyTree[Rate], weight_decay: PyTree[Rate]) -> Iterate:
        return at(_decayed_step(iterate.weights, iterate.memory.gradients, step_size, weight_decay), *data)

    return Descent(at, step)


def heavy_ball(loss: Callable[..., Scalar]) -> Descent:
    """Gradient descent with weight decay and Polyak's momentum on ``loss(weights, *data)``.

    W(t+1) = (1 - eta lambda) W(t) - eta grad loss(W(t)) + mu (W(t) - W(t-1)) with W(-1) = W(0)
    (Yaras et al. 2023, eq. 16, with the weight decay of eq. 4). The memory is W(t-1).
    ``step(iterate, *data, step_size, weight_decay, momentum)``; with momentum 0 it is gradient descent, bit for bit.
    """

    def step(
        iterate: Iterate, *data: PyTree, step_size: PyTree[Rate], weight_decay: PyTree[Rate], momentum: Rate
    ) -> Iterate:
        gradients = jax.grad(loss)(iterate.weights, *data)
        descended = _decayed_step(iterate.weights, gradients, step_size, weight_decay)
        weights = jax.tree.map(lambda new, W, before: new + momentum * (W - before), descended, *iterate)
        return Iterate(weights, iterate.weights)

    return Descent(lambda weights: Iterate(weights, weights), step)


def transformed(loss: Callable[..., Scalar], transform: optax.GradientTransformation) -> Descent:
    """Any optax gradient transformation as a descent step on ``loss(weights, *data)``.

    The transformation has its own rates; ``step(iterate, *data)`` takes none. The memory is optax's state. Line
    searches and other transformations that need more than the gradient get it by optax's names: ``value``, ``grad``
    and ``value_fn`` (L-BFGS, Polyak's step, MoMo, plateaus), ``obj_fn`` (Sophia) and ``grad_fn`` (SAM's opaque mode,
    every gradient on the same ``data``).
    """

    def step(iterate: Iterate, *data: PyTree) -> Iterate:
        value, gradients = jax.value_and_grad(loss)(iterate.weights, *data)
        more = _asked_for(transform, loss, data, value, gradients)
        # optax raises its rates to an integer power, a mixture of dtypes that strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = transform.update(gradients, iterate.memory, iterate.weights, **more)
            return Iterate(optax.apply_updates(iterate.weights, updates), memory)

    return Descent(lambda weights: Iterate(weights, transform.init(weights)), step)


def _asked_for(
    transform: optax.GradientTransformation, loss: Callable[..., Scalar], data: tuple, value: Scalar, gradients: PyTree
) -> dict[str, Any]:
    """The keywords of optax's transformations that the update of this one takes."""

    # A line search passes these keywords on, and refuses them if value_fn does not take them.
    def value_fn(weights: PyTree, obj_fn: Any = None, grad_fn: Any = None) -> Scalar:
        del obj_fn, grad_fn
        return loss(weights, *data)

    def grad_fn(weights: PyTree, _: int) -> PyTree:
        return jax.grad(value_fn)(weights)

    known = {"value": value, "grad": gradients, "value_fn": value_fn, "obj_fn": value_fn, "grad_fn": grad_fn}
    return taken_by(transform, known)


def taken_by(transform: optax.GradientTransformation, known: dict[str, Any]) -> dict[str, Any]:
    """Those of the known keywords that the update of a transformation takes."""
    taken = inspect.signature(transform.update).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values())
    return known if takes_all else {name: given for name, given in known.items() if name in taken}


def _decayed_step(weights: PyTree, gradients: PyTree, step_size: PyTree[Rate], weight_decay: PyTree[Rate]) -> PyTree:
    eta, decay = (jax.tree.broadcast(rate, weights) for rate in (step_size, weight_decay))
    return jax.tree.map(lambda W, G, eta, decay: (1 - eta * decay) * W - eta * G, weights, gradients, eta, decay)
