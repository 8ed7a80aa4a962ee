"""Deep matrix completion (Yaras et al. 2023, Section 4.1): what depth, width and compression do to recovery and speed.

Every network starts small, from eps-orthogonal weights, and descends on the observed entries of a low-rank matrix until
a tolerance on their mean loss. Networks of one seed share target, mask and, where they have it, W(0).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.fields import swept
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number
from lawlib.completion import compressed_network
from lawlib.compress import adapters, bases_of
from lawlib.descent.steps import Iterate, evaluated, masked_mean_squared_error, masked_sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import low_rank_target, observation_mask
from lawlib.types import Array, Matrix, PRNGKey, PyTree, Scalar

STUDIES = ("depth_width", "compressed", "gamma", "sampling")
KINDS = ("full", "narrow", "compressed")
PAPER = "Yaras et al. 2023"

VARIABLES = {
    "loss": Variable(
        (), "1", "1/2 mean (Omega . (W_{L:1} - Phi))^2 over all d^2 entries, masked ones as zeros", f"{PAPER}, eq. 9"
    ),
    "recovery_error": Variable(
        (), "1", "1/2 mean ((1 - Omega) . (W_{L:1} - Phi))^2 over all d^2 entries, observed ones as zeros"
    ),
    "projection": Variable(
        ("left", "right"), "1", "U_Phi^T W_{L:1} V_Phi, the end-to-end matrix in the target's own singular bases"
    ),
    "outer_over_core": Variable(
        (),
        "1",
        "norm of the loss's gradient in the outer factors over that in the core: their speeds under one step size, of "
        "compressed networks alone",
        f"{PAPER}, eq. 11",
    ),
}


class Problem(NamedTuple):
    """What one member draws once: the matrix, its mask, its r leading singular vectors, its own step sizes."""

    target: Matrix
    mask: Matrix
    left: Matrix
    right: Matrix
    step_size: PyTree


FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64"),
    "study": choice("the figure that the runs are for", *STUDIES),
    "net.kind": choice("wide network, narrow one of width 2 r^, or compressed one", *KINDS),
    "net.depth": integer("number of layers L", at_least=2),
    "net.width": integer("width of the hidden layers of a full network", at_least=1),
    "net.rank": integer("estimate r^ of the rank, for narrow and compressed networks", at_least=1),
    "net.scale": number("scale eps of the first weights", sweepable=True, above=0.0),
    "opt.step_size": number("step size eta on the sum loss", sweepable=True, above=0.0),
    "opt.discrepancy": number("step size of the outer factors over eta, gamma", sweepable=True, at_least=0.0),
    "opt.tolerance": number("mean loss at which a member ends; 0: it makes all steps", at_least=0.0),
    "data.size": integer("size d of the d x d matrix", at_least=2),
    "data.rank": integer("rank r of the matrix", at_least=1),
    "data.observed": number("share of the entries that is observed", sweepable=True, above=0.0, at_most=1.0),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    net, data = checks.config.net, checks.config.data
    checks.require("data.rank", data.rank < data.size, f"must be below data.size = {data.size}")
    if net.kind == "compressed":
        checks.require("net.rank", 2 * net.rank < data.size, f"must be below data.size / 2 = {data.size / 2:g}")
    else:
        rule = f"cannot be swept for net.kind = {net.kind!r}, which has one step size"
        checks.require("sweep.opt.discrepancy", "opt.discrepancy" not in swept(checks.config), rule)


def dynamics(config: ConfigDict) -> Dynamics:
    """A network under gradient descent on the observed entries, until its mean loss is at the tolerance."""
    descent, is_compressed = evaluated(_loss), config.net.kind == "compressed"

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Iterate]:
        problem, weights = _draw(config, key, hyperparameters)
        return problem, descent.init(weights, problem.target, problem.mask)

    def step(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> Iterate:
        rates = {"step_size": problem.step_size, "weight_decay": 0.0}
        return descent.step(iterate, problem.target, problem.mask, **rates)

    def observe(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> dict[str, Array]:
        product = _product(iterate.weights)
        speed = {"outer_over_core": _outer_over_core(iterate.weights, problem)} if is_compressed else {}
        return speed | {
            "loss": iterate.memory.loss / problem.target.size,
            "recovery_error": masked_mean_squared_error(product, problem.target, 1 - problem.mask),
            "projection": problem.left.T @ product @ problem.right,
        }

    def done(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> Array:
        return iterate.memory.loss / problem.target.size <= config.opt.tolerance

    return until(Dynamics(init, step, observe), done)


def _draw(config: ConfigDict, key: PRNGKey, hyperparameters: Hyperparameters) -> tuple[Problem, PyTree]:
    """The problem of this seed and the weights to start from."""
    data, dtype = config.data, jnp.dtype(config.precision)
    key_target, key_mask, key_weights = jax.random.split(key, 3)
    target = low_rank_target(key_target, (data.size, data.size), data.rank, dtype)
    mask = observation_mask(key_mask, target.shape, value_of(config, hyperparameters, "data.observed"), dtype)
    weights = _start(config, key_weights, hyperparameters, mask * target)
    step_size = value_of(config, hyperparameters, "opt.step_size")
    if isinstance(weights, adapters.Adapter):
        outer = value_of(config, hyperparameters, "opt.discrepancy") * step_size
        step_size = adapters.Adapter(outer, step_size, outer)
    return Problem(target, mask, *_leading_bases(target, data.rank), step_size), weights


def _start(config: ConfigDict, key: PRNGKey, hyperparameters: Hyperparameters, observed: Matrix) -> PyTree:
    """(W_1, ..., W_L) of width d_h between d inputs and d outputs, or the compressed network of a square one."""
    net, size, scale = config.net, config.data.size, value_of(config, hyperparameters, "net.scale")
    hidden = {"full": net.width, "narrow": 2 * net.rank, "compressed": size}[net.kind]
    weights = orthogonal_weights(key, (size, *[hidden] * (net.depth - 1), size), scale, observed.dtype)
    if net.kind != "compressed":
        return weights
    bases = bases_of(weights, *_leading_bases(observed, net.rank))
    return adapters.deep_lora(bases, depth=net.depth, scale=scale)


def _leading_bases(matrix: Matrix, rank: int) -> tuple[Matrix, Matrix]:
    """Orthonormal bases of the leading left and right singular subspaces."""
    left, _, right = jnp.linalg.svd(matrix, full_matrices=False)
    return left[:, :rank], right[:rank].T


def _product(weights: PyTree) -> Matrix:
    is_compressed = isinstance(weights, adapters.Adapter)
    return compressed_network.product(weights) if is_compressed else end_to_end(weights)


def _outer_over_core(weights: adapters.Adapter, problem: Problem) -> Scalar:
    gradient = jax.grad(_loss)(weights, problem.target, problem.mask)
    return optax.tree.norm((gradient.left, gradient.right)) / optax.tree.norm(gradient.core)


def _loss(weights: PyTree, target: Matrix, mask: Matrix) -> Scalar:
    """The sum over the observed entries (eq. 9), which the step sizes are for; the tolerance is for the mean."""
    return masked_sum_squared_error(_product(weights), target, mask)
