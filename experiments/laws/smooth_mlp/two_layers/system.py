"""Two-layer MLPs with smooth activations (Xu et al. 2026, Section 3): a step changes W_1 in a small subspace only.

f(X) = W_2 phi(W_1 X) on a whitened mixture of K Gaussian classes; gradient descent on the squared error summed over
entries trains W_1 from eps-orthogonal weights, W_2 ~ U(-1, 1) is frozen. Observed are the gradient's spectrum and, for
the theorem, its subspaces, the blocks of the change of W_1, and both sides of every bound; beside them M and the blocks
of a random subspace.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.laws.smooth_mlp.common import PAPER
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number
from lawlib.descent.steps import Iterate, evaluated, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.linalg.subspaces import block_energies, complement, wedin
from lawlib.networks.activations import Activation, activation
from lawlib.networks.initializers import fan_in_normal, orthogonal
from lawlib.networks.mlp import apply
from lawlib.problems.synthetic import gaussian_mixture, whiten_symmetric
from lawlib.theory import smooth_mlp as theory
from lawlib.theory import smooth_mlp_bounds as bounds
from lawlib.types import Array, Scalar

ACTIVATIONS = ("elu", "gelu", "silu", "tanh", "relu", "leaky_relu")
# The studies in which the blocks of W_1 are observed.
WITH_BLOCKS = ("theorem", "epsilon")

BLOCK, INDEX = ("block",), ("index",)
VARIABLES = {
    "loss": Variable((), "1", "1/2 ||f(X) - Y||_F^2, a sum over entries", f"{PAPER}, eq. 4"),
    "gradient_values": Variable(INDEX, "1", "all singular values of G_1(t), descending", f"{PAPER}, eq. 12"),
    "target_values": Variable(INDEX, "1", "singular values of W_2^T Y X^T; K of them are not 0", f"{PAPER}, Lemma D.8"),
    "spread": Variable((), "1", "r(eps), how far sigma_i(G_1(0)) may be from its centre", f"{PAPER}, Lemma D.8"),
    "relu_bound": Variable((), "1", "lower bound on sigma_{d-K}(G_1(0)), 0 where it says nothing", f"{PAPER}, B.1"),
    "largest_residual": Variable((), "1", "||Delta_2(t)||_max, at most M", f"{PAPER}, Assumption 3.4"),
    "lipschitz": Variable((), "1", "gamma_L with M = ||Delta_2(t)||_max", f"{PAPER}, Lemma D.7"),
    "blocks": Variable(BLOCK, "1", "||W~_i(t) - W~_i(0)||_F^2, i = 1..4", f"{PAPER}, Figure 3"),
    "random_blocks": Variable(BLOCK, "1", "the same for a random S_big of 2K dimensions"),
    "weight_blocks": Variable(BLOCK, "1", "||W~_i(t)||_F^2, i = 1..4", f"{PAPER}, Theorem D.11"),
    "step_distances": Variable(
        ("moved",), "1", "||W~_i(t+1) - W~_i(t)||_F / sqrt p, i = 2, 3, 4", f"{PAPER}, Theorem D.11"
    ),
    "random_step_distances": Variable(("moved",), "1", "the same for a random S_big of 2K dimensions"),
    "step_bound": Variable((), "1", "eta rho(t)", f"{PAPER}, Theorem D.11"),
    "left_sine": Variable((), "1", "||sin Theta(L_{1,1}(t), L_{1,1}(0))||_F, at most sqrt K", f"{PAPER}, Theorem 3.5"),
    "right_sine": Variable((), "1", "||sin Theta(R_{1,1}(t), R_{1,1}(0))||_F, at most sqrt K", f"{PAPER}, Theorem 3.5"),
    "gradient_change": Variable((), "1", "||G_1(t) - G_1(0)||_F", f"{PAPER}, eq. 17"),
    "wedin_bound": Variable((), "1", "Wedin's bound with the projected change of G_1", f"{PAPER}, Lemma D.5"),
}


class Frame(NamedTuple):
    """The bases U_2 (m, p) and V_2 (d, p) that divide W_1 into blocks."""

    left: Array
    right: Array


class Start(NamedTuple):
    """W_1(0), G_1(0), and the blocks of S_big and of a random subspace, which the theorem compares with."""

    weights: Array
    gradient: Array
    frame: Frame
    random: Frame


class Problem(NamedTuple):
    """A member's own draws: the data (X, Y), W_2, its step size, and the terms that are known before a step."""

    inputs: Array
    targets: Array
    last: Array
    step_size: Array
    known: Mapping[str, Array]
    start: Start | None


FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64"),
    "study": choice("the figures or theorem that the runs are for", "theorem", "epsilon", "decay", "tail"),
    "net.activation": choice("activation phi", *ACTIVATIONS),
    "net.init": choice("W_1(0): eps-orthogonal, or N(0, eps^2 / m) for Proposition B.1", "orthogonal", "normal"),
    "net.width": integer("width m of the hidden layer", at_least=1),
    "net.scale": number("scale eps of W_1(0)", sweepable=True, above=0.0),
    "opt.step_size": number("step size eta on the sum loss", sweepable=True, above=0.0),
    "data.dimension": integer("dimension d of the inputs", at_least=1),
    "data.num_classes": integer("number of classes K", at_least=1),
    "data.num_samples": integer("number of samples N", at_least=1),
    "bound.failure": number(
        "probability with which Proposition B.1 may fail",
        when=lambda config: config.study == "tail",
        above=0.0,
        below=1.0,
    ),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    net, data, study = checks.config.net, checks.config.data, checks.config.study
    d, K, N = data.dimension, data.num_classes, data.num_samples
    checks.require("data.dimension", d > 2 * K, f"must exceed 2 * data.num_classes = {2 * K}, or no S_small is left")
    checks.require("data.num_samples", N % K == 0, f"must be a multiple of data.num_classes = {K}")
    checks.require("data.num_samples", d <= N, f"must be at least data.dimension = {d} to be whitened")
    checks.require("net.width", net.width >= d, f"must be at least data.dimension = {d}")
    if net.init == "normal":
        checks.require("net.init", study == "tail", "is Proposition B.1's, for study = 'tail' only")
        checks.require("net.activation", net.activation == "relu", "must be 'relu' for Proposition B.1")
        checks.require("data.num_samples", d == N, f"must be {d} = data.dimension for Proposition B.1")


def dynamics(config: ConfigDict) -> Dynamics:
    """Gradient descent in W_1 only, with G_1(t) in its memory."""
    phi = activation(config.net.activation)

    def loss(weights: Array, last: Array, inputs: Array, targets: Array) -> Scalar:
        return sum_squared_error(apply((weights, last), inputs, phi), targets)

    descent, classes = evaluated(loss), config.data.num_classes

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Iterate]:
        key_data, key_first, key_last, key_random = jax.random.split(key, 4)
        (inputs, targets), dtype = _draw(config, key_data), jnp.dtype(config.precision)
        scale, step_size = (value_of(config, hyperparameters, field) for field in ("net.scale", "opt.step_size"))
        first = _first_layer(config, key_first, scale)
        last = jax.random.uniform(key_last, (classes, config.net.width), dtype, -1, 1)
        iterate = descent.init(first, last, inputs, targets)
        known = _known(config, phi, (first, last), inputs, targets, scale)
        start = _start(iterate, key_random, scale, classes) if config.study in WITH_BLOCKS else None
        return Problem(inputs, targets, last, step_size, known, start), iterate

    def step(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> Iterate:
        data = problem.last, problem.inputs, problem.targets
        return descent.step(iterate, *data, step_size=problem.step_size, weight_decay=0.0)

    def observe(t: Time, iterate: Iterate, problem: Problem, shared: tuple) -> dict[str, Array]:
        values = jnp.linalg.svd(iterate.memory.gradients, compute_uv=False)
        M = _largest_residual(iterate, problem, phi)
        seen = {"loss": iterate.memory.loss, "gradient_values": values, "largest_residual": M, **problem.known}
        if problem.start is None:
            return seen
        following = step(t, iterate, problem, shared).weights
        seen |= _blocks(iterate, following, problem, problem.start) | _rotation(iterate, problem.start, classes)
        return seen | ({"lipschitz": bounds.gradient_lipschitz(problem.last, M, phi)} if phi.is_smooth else {})

    return until(Dynamics(init, step, observe))


def _draw(config: ConfigDict, key: Array) -> tuple[Array, Array]:
    """The mixture, whitened symmetrically (X X^T = I), and its labels."""
    data = config.data
    X, Y = gaussian_mixture(
        key,
        dimension=data.dimension,
        num_classes=data.num_classes,
        num_samples=data.num_samples,
        dtype=jnp.dtype(config.precision),
    )
    return whiten_symmetric(X).inputs, Y


def _first_layer(config: ConfigDict, key: Array, scale: Array) -> Array:
    """W_1(0), eps-orthogonal or, for Proposition B.1, of entries N(0, eps^2 / m)."""
    # in_axis -2 makes m the fan-in of a matrix (m, d).
    init = orthogonal(scale) if config.net.init == "orthogonal" else fan_in_normal(scale, in_axis=-2)
    return init(key, (config.net.width, config.data.dimension), jnp.dtype(config.precision))


def _known(
    config: ConfigDict, phi: Activation, weights: tuple[Array, Array], inputs: Array, targets: Array, scale: Array
) -> dict[str, Array]:
    """The terms of the bounds that are known before the first step."""
    first, last = weights
    known = {"target_values": jnp.linalg.svd(last.T @ (targets @ inputs.T), compute_uv=False)}
    if config.net.init == "normal":
        residual = apply(weights, inputs, phi) - targets
        known |= {"relu_bound": bounds.relu_tail_bound(last, residual, config.bound.failure)}
    elif phi.is_smooth:
        known |= {"spread": bounds.gradient_spread(first, last, inputs, targets, scale, phi)}
    return known


def _start(iterate: Iterate, key: Array, scale: Array, classes: int) -> Start:
    weights, gradient = iterate.weights, iterate.memory.gradients
    small = theory.big_and_small(weights, gradient, classes).small
    random = complement(jax.random.normal(key, (len(small), 2 * classes), small.dtype))
    frames = (Frame(theory.transported((weights,), right, scale)[1], right) for right in (small, random))
    return Start(weights, gradient, *frames)


def _blocks(iterate: Iterate, following: Array, problem: Problem, start: Start) -> dict[str, Array]:
    """The blocks of W_1(t) and of its change since the start; the next step's blocks and their bound."""
    change, gradient = iterate.weights - start.weights, iterate.memory.gradients
    gradients = gradient, start.gradient
    step, p = following - iterate.weights, start.random.right.shape[1]
    sides = theory.step_bound(step, *gradients, *start.frame, problem.step_size)
    return {
        "blocks": block_energies(change, *start.frame),
        "random_blocks": block_energies(change, *start.random),
        "weight_blocks": block_energies(iterate.weights, *start.frame),
        "step_distances": sides.distances,
        "random_step_distances": jnp.sqrt(block_energies(step, *start.random)[1:] / p),
        "step_bound": sides.bound,
    }


def _rotation(iterate: Iterate, start: Start, classes: int) -> dict[str, Array]:
    """The rotation of the K leading singular subspaces of the gradient, and Wedin's bound on it."""
    gradient = iterate.memory.gradients
    turned = wedin(gradient, start.gradient, classes)
    return {
        "left_sine": turned.left,
        "right_sine": turned.right,
        "wedin_bound": turned.bound,
        "gradient_change": jnp.linalg.norm(gradient - start.gradient),
    }


def _largest_residual(iterate: Iterate, problem: Problem, phi: Activation) -> Scalar:
    """||Delta_2(t)||_max."""
    residual = apply((iterate.weights, problem.last), problem.inputs, phi) - problem.targets
    return jnp.max(jnp.abs(residual))
