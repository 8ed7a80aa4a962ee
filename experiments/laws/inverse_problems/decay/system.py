"""Deep linear networks with weight decay on subspace inverse problems (Laus et al. 2025, Figs. 2 to 4).

How the regression error and the off-subspace error evolve under gradient descent, over the dimension of the subspace,
the depth and the weight decay. Each member has its own step size; its rescaled time is x = eta_1 lambda t.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.laws.inverse_problems import common
from experiments.laws.inverse_problems.common import COMMON_FIELDS, COMMON_VARIABLES, Problem
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.schema import choice, number
from lawlib.descent.steps import Iterate, gradient_descent, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Pair, Time, pair, until
from lawlib.types import Array, Matrix, PRNGKey, Scalar, Weights

STUDIES = ("dimension", "depth", "decay", "printed", "compression")

VARIABLES = COMMON_VARIABLES | {
    "weight_gap": Variable((), "1", "largest entry of |W_l - W_l of the network that sees all n samples|, all layers"),
}
FIELDS = COMMON_FIELDS | {
    "study": choice("the figure that the runs are for, the printed step size, or the compressed samples", *STUDIES),
    "opt.horizon": number("rescaled time eta_1 lambda t at which a member ends; 0: it makes all steps", at_least=0.0),
    "opt.rescaling_decay": number("lambda of the horizon's rescaled time; 0: the member's own", at_least=0.0),
}

Member = tuple[Problem, Array]


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    common.check_common(checks)
    opt = checks.config.opt
    if opt.horizon > 0 and opt.rescaling_decay == 0:
        moving = all(decay > 0 for decay in checks.values("opt.weight_decay"))
        rule = "must be positive where opt.weight_decay is 0: a horizon is reached on the rescaled time eta lambda t"
        checks.require("opt.rescaling_decay", moving, rule)


def dynamics(config: ConfigDict) -> Dynamics:
    """Gradient descent with weight decay to the horizon; for compression, paired with a network on all samples."""
    if config.study == "compression":
        return pair(_system(config), _system(config, compressed=False), _observe_gap)
    return _system(config)


def loss(weights: Weights, inputs: Matrix, targets: Matrix) -> Scalar:
    """1/2 ||W_{L:1} Y - X||_F^2, a sum."""
    return sum_squared_error(common.through(weights, inputs), targets)


def _system(config: ConfigDict, *, compressed: bool = True) -> Dynamics:
    descent = gradient_descent(loss)

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Member, Iterate]:
        key_data, key_start = jax.random.split(key)
        data = common.draw(config, key_data)
        problem, weights = common.start(config, hyperparameters, key_start, data)
        if not compressed:
            problem = problem._replace(inputs=data.measurements, targets=data.signals)
        return (problem, _last_step(config, problem)), descent.init(weights)

    def step(_: Time, iterate: Iterate, member: Member, shared: tuple) -> Iterate:
        problem = member[0]
        return descent.step(iterate, problem.inputs, problem.targets, **problem.rates._asdict())

    def observe(t: Time, iterate: Iterate, member: Member, shared: tuple) -> dict[str, Array]:
        return common.observe_common(t, iterate.weights, member[0])

    def done(t: Time, iterate: Iterate, member: Member, shared: tuple) -> Array:
        return t >= member[1]

    return until(Dynamics(init, step, observe), done)


def _last_step(config: ConfigDict, problem: Problem) -> Array:
    """The first step at which eta_1 lambda t reaches the horizon, with the member's own lambda or the given one."""
    last = jnp.asarray(config.opt.num_steps, jnp.int32)
    if config.opt.horizon == 0:
        return last
    own = config.opt.rescaling_decay == 0
    rate = problem.time_rate if own else problem.rates.step_size[0] * config.opt.rescaling_decay
    return jnp.minimum(jnp.ceil(config.opt.horizon / rate), config.opt.num_steps).astype(jnp.int32)


def _observe_gap(t: Time, states: Pair, problems: Pair, shared: tuple) -> dict[str, Array]:
    few, full = (monitored.state.weights for monitored in states)
    gaps = [jnp.max(jnp.abs(W - other)) for W, other in zip(few, full, strict=True)]
    return {"weight_gap": jnp.max(jnp.stack(gaps))}
