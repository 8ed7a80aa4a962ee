"""Deep LoRA in its linear setting (Yaras et al. 2024): three d x d factors and their compression, from one draw.

``whitened`` fits W_0 + Delta to W_0 + E, E of rank r, by least squares: k = 2r. ``classes`` fits random classes by the
mean cross-entropy of A (W_0 + Delta) X, A a linear map to r classes, X of few samples: k = classes + samples. The
control is ``whitened`` with the bases of another draw of the factors.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number
from lawlib.compress import Bases, adapters
from lawlib.descent.steps import gradient_descent, mean_cross_entropy, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Pair, Time, pair, until
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal, orthogonal_weights
from lawlib.theory.parsimony import rho_square, rho_wide
from lawlib.types import Array, Matrix, Scalar, Weights, matmul

KINDS = ("whitened", "classes", "control")
PAPER = "Yaras et al. 2024"
SIZE = "||Delta||_F"
VARIABLES = {
    "full_loss": Variable((), "1", "loss of W_0 + W_3 W_2 W_1, d x d factors"),
    "compressed_loss": Variable((), "1", "loss of the compressed adapter, term of rho included"),
    "rho": Variable((), "1", "idle singular value of the factors by its recursion"),
    "distance": Variable((), "1", f"||Delta - U W~_{{3:1}} V^T||_F / {SIZE}, Delta = W_3 W_2 W_1", PAPER),
    "predicted_distance": Variable((), "1", f"rho^3 sqrt(d - k) / {SIZE}"),
    "whole_distance": Variable((), "1", "the same distance once rho^3 (Q - U V^T) is added"),
    "excess": Variable(
        (), "1", "largest sigma_{k+1}(W_l(t) - (rho(t)/eps) W_l(0)) / sigma_1(W_l(t)) of the factors", PAPER
    ),
}
FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64", "float32"),
    "net.kind": choice("the loss, or the first loss with the bases of another draw", *KINDS),
    "net.width": integer("width d of the frozen matrix", at_least=3),
    "net.depth": integer("number L of factors", at_least=1),
    "net.scale": number("scale eps of the first factors", sweepable=True, above=0.0),
    "opt.step_size": number("step size eta", sweepable=True, above=0.0),
    "opt.weight_decay": number("weight decay lambda", sweepable=True, at_least=0.0),
    "data.rank": integer("rank r of the change that is fitted, or number of classes", at_least=1),
    "data.num_samples": integer("samples of the classes", at_least=1),
}


class Problem(NamedTuple):
    """What both adapters draw once: the frozen matrix, inputs, what is fitted, W_l(0) of scale eps, and the bases.

    ``readout`` is the linear map A after the matrix; with whitened inputs it is the identity, as are the inputs.
    """

    frozen: Matrix
    readout: Matrix
    inputs: Matrix
    fitted: Matrix
    drawn: Weights
    scale: Scalar
    bases: Bases
    rates: dict[str, Scalar]


class State(NamedTuple):
    """The weights of an adapter, and the idle value."""

    weights: Any
    rho: Scalar


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    most = checks.config.net.width - 1
    k = num_active(checks.config)
    rule = f"must leave an idle direction of net.width = {most + 1}: at most {most} active ones, these are {k}"
    checks.require("data.rank", k <= most, rule)


def num_active(config: ConfigDict) -> int:
    """The dimension k of the bases."""
    return config.data.rank + (config.data.num_samples if config.net.kind == "classes" else config.data.rank)


def dynamics(config: ConfigDict) -> Dynamics:
    """The d x d factors and the compressed adapter side by side."""
    full = _descending(config, lambda problem: problem.drawn, _dense)
    small = _descending(config, lambda problem: _start(problem, config), adapters.apply)
    return until(pair(full, small, _compare(config)))


def _dense(weights: Weights, inputs: Matrix) -> Matrix:
    return matmul(end_to_end(weights), inputs)


def _start(problem: Problem, config: ConfigDict) -> adapters.Adapter:
    return adapters.deep_lora(problem.bases, scale=problem.scale, depth=config.net.depth)


def _descending(
    config: ConfigDict, begun: Callable[[Problem], Any], predict: Callable[[Any, Matrix], Matrix]
) -> Dynamics:
    """Gradient descent of the factors, or of the compressed adapter with its bases fixed."""
    depth = config.net.depth
    descent = gradient_descent(lambda weights, problem: _loss(config, problem, predict(weights, problem.inputs)))

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, State]:
        problem = _draw(config, key, hyperparameters)
        return problem, State(begun(problem), problem.scale)

    def step(_: Time, state: State, problem: Problem, shared: tuple) -> State:
        rates = problem.rates
        is_small = isinstance(state.weights, adapters.Adapter)
        fixed = {name: adapters.rates(rate, outer=0.0, depth=depth) for name, rate in rates.items()}
        moved = descent.step(descent.init(state.weights), problem, **(fixed if is_small else rates))
        return State(moved.weights, _idle(config, state.rho, rates))

    return Dynamics(init, step, lambda *_: {})


def _idle(config: ConfigDict, rho: Scalar, rates: dict[str, Scalar]) -> Scalar:
    """The idle value after a step: the loss of the classes has no gradient there."""
    if config.net.kind == "classes":
        return jnp.asarray(rho_wide(rho, before=rho, momentum=0.0, **rates))
    return jnp.asarray(rho_square(rho, before=rho, depth=config.net.depth, momentum=0.0, **rates))


def _loss(config: ConfigDict, problem: Problem, outputs: Matrix) -> Scalar:
    """1/2 ||(W_0 + Delta) - (W_0 + E)||_F^2, or the mean cross-entropy of A (W_0 + Delta) X."""
    outputs = matmul(problem.readout, matmul(problem.frozen, problem.inputs) + outputs)
    if config.net.kind == "classes":
        return mean_cross_entropy(outputs, problem.fitted)
    return sum_squared_error(outputs, problem.fitted)


def _draw(config: ConfigDict, key: Array, hyperparameters: Hyperparameters) -> Problem:
    key_frozen, key_data, key_weights, key_other = jax.random.split(key, 4)
    d, dtype = config.net.width, jnp.dtype(config.precision)
    frozen = jax.random.normal(key_frozen, (d, d), dtype) / jnp.sqrt(jnp.asarray(d, dtype))
    widths = (d,) * (config.net.depth + 1)
    scale = jnp.asarray(value_of(config, hyperparameters, "net.scale"), dtype)
    weights = orthogonal_weights(key_weights, widths, scale, dtype)
    readout, inputs, fitted = (_classes if config.net.kind == "classes" else _whitened)(config, key_data, frozen)
    # The two spaces, from one factor each: A^T, or the gradient at the frozen matrix, and the inputs.
    if config.net.kind == "classes":
        left, right = jnp.linalg.qr(readout.T)[0], jnp.linalg.qr(inputs)[0]
    else:
        left, _, right = adapters.gradient_svd(frozen - fitted, inputs, config.data.rank)
    others = orthogonal_weights(key_other, widths, 1.0, dtype)
    bases = adapters.adapter_bases(others if config.net.kind == "control" else weights, left, right)
    rates = {name: value_of(config, hyperparameters, f"opt.{name}") for name in ("step_size", "weight_decay")}
    return Problem(frozen, readout, inputs, fitted, weights, scale, bases, rates)


def _whitened(config: ConfigDict, key: Array, frozen: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """A = X = I and what is fitted, W_0 + E with singular values of E from 2 to 1."""
    keys, (d, r), dtype = jax.random.split(key), (config.net.width, config.data.rank), frozen.dtype
    left, right = (orthogonal(1.0)(key, (d, r), dtype) for key in keys)
    identity = jnp.eye(d, dtype=dtype)
    return identity, identity, frozen + matmul(left * jnp.linspace(2.0, 1.0, r, dtype=dtype)[None], right.T)


def _classes(config: ConfigDict, key: Array, frozen: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """A map to the classes, inputs that are not whitened, and their classes in turn."""
    key_readout, key_inputs = jax.random.split(key)
    d, K, N, dtype = config.net.width, config.data.rank, config.data.num_samples, frozen.dtype
    readout = jax.random.normal(key_readout, (K, d), dtype) / jnp.sqrt(jnp.asarray(K, dtype))
    inputs = jax.random.normal(key_inputs, (d, N), dtype) / jnp.sqrt(jnp.asarray(N, dtype))
    return readout, inputs, jnp.eye(K, dtype=dtype)[:, jnp.arange(N) % K]


def _compare(config: ConfigDict) -> Callable[[Time, Pair, Pair, tuple], dict[str, Array]]:
    depth = config.net.depth

    def compare(_: Time, states: Pair, problems: Pair, shared: tuple) -> dict[str, Array]:
        problem, weights, adapter, rho = problems.first, states.first.weights, states.second.weights, states.first.rho
        (U, V), d = problem.bases, config.net.width
        eps = problem.scale
        change, (left, right) = end_to_end(weights), adapters.change(adapter)
        apart = change - matmul(left, right.T)
        idle = (rho / eps) ** depth * end_to_end(problem.drawn) - rho**depth * matmul(U, V.T)
        whole = matmul(matmul(left, right.T) + idle, problem.inputs)
        moved = [_values(W - (rho / eps) * start) for W, start in zip(weights, problem.drawn, strict=True)]
        excess = [own[U.shape[1]] / _values(W)[0] for own, W in zip(moved, weights, strict=True)]
        size = _norm(change)
        return {
            "full_loss": _loss(config, problem, _dense(weights, problem.inputs)),
            "compressed_loss": _loss(config, problem, whole),
            "rho": rho,
            "distance": _norm(apart) / size,
            "predicted_distance": rho**depth * jnp.sqrt(jnp.asarray(d - U.shape[1], change.dtype)) / size,
            "whole_distance": _norm(apart - idle) / size,
            "excess": jnp.max(jnp.stack(excess)),
        }

    return compare


def _values(M: Matrix) -> Array:
    return jnp.linalg.svd(M, compute_uv=False)


_norm = jnp.linalg.norm
