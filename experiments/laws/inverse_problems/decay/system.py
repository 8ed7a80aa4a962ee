"""Deep linear networks with weight decay on subspace inverse problems (Laus et al. 2025, Figs. 2 to 4).

How the regression error and the off-subspace error move under gradient descent, over the dimension of the subspace,
the depth and the weight decay. Members have their own step size; their rescaled time is x = eta_1 lambda t.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.laws.inverse_problems import common
from experiments.laws.inverse_problems.common import COMMON_VARIABLES, Counted, Problem
from experiments.laws.inverse_problems.decay.claims import claims
from experiments.laws.inverse_problems.decay.figures import STUDIES, figures
from experiments.runner.checks import Checks
from experiments.runner.results import Variable
from lawlib.descent.steps import gradient_descent, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Pair, pair, until
from lawlib.types import Array, Matrix, PRNGKey, Scalar, Weights

__all__ = ["VARIABLES", "claims", "dynamics", "figures", "shared", "validate"]

VARIABLES = COMMON_VARIABLES | {
    "weight_gap": Variable((), "1", "largest entry of |W_l - W_l of the network that sees all n samples|, all layers"),
}

Member = tuple[Problem, Array]


def validate(checks: Checks) -> None:
    """The fields that this experiment reads, and what it asks of them."""
    common.check_linear(checks)
    checks.choice("study", STUDIES)
    checks.number("opt.horizon", at_least=0.0)
    checks.number("opt.rescaling_decay", at_least=0.0)
    opt = checks.config.opt
    if opt.horizon > 0 and opt.rescaling_decay == 0:
        moving = all(decay > 0 for decay in checks.values("opt.weight_decay"))
        rule = "must be positive where opt.weight_decay is 0: a horizon is reached on the rescaled time eta lambda t"
        checks.require("opt.rescaling_decay", moving, rule)


def shared(config: ConfigDict) -> tuple:
    """Nothing: every member draws its own problem."""
    return ()


def dynamics(config: ConfigDict) -> Dynamics:
    """Gradient descent with weight decay to the horizon; for compression, beside a network that sees all samples."""
    if config.study == "compression":
        return pair(_system(config), _system(config, compressed=False), _observe_gap)
    return _system(config)


def loss(weights: Weights, inputs: Matrix, targets: Matrix) -> Scalar:
    """1/2 ||W_{L:1} Y - X||_F^2, a sum."""
    return sum_squared_error(common.through(weights, inputs), targets)


def _system(config: ConfigDict, *, compressed: bool = True) -> Dynamics:
    descent = gradient_descent(loss)

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Member, Counted]:
        key_data, key_start = jax.random.split(key)
        data = common.draw(config, key_data)
        problem, weights = common.start(config, hyperparameters, key_start, data)
        if not compressed:
            problem = problem._replace(inputs=data.measurements, targets=data.signals)
        return (problem, _last_step(config, problem)), Counted(descent.init(weights), jnp.asarray(0, jnp.int32))

    def step(state: Counted, member: Member, shared: tuple) -> Counted:
        problem, _ = member
        stepped = descent.step(state.iterate, problem.inputs, problem.targets, **problem.rates._asdict())
        return Counted(stepped, state.step + 1)

    def observe(state: Counted, member: Member, shared: tuple) -> dict[str, Array]:
        return common.observe_common(state.iterate.weights, state.step, member[0])

    def done(state: Counted, member: Member, shared: tuple) -> Array:
        return state.step >= member[1]

    return until(Dynamics(init, step, observe), done)


def _last_step(config: ConfigDict, problem: Problem) -> Array:
    """The first step at which eta_1 lambda t is at the horizon, lambda the member's or the one given."""
    last = jnp.asarray(config.opt.num_steps, jnp.int32)
    if config.opt.horizon == 0:
        return last
    own = config.opt.rescaling_decay == 0
    rate = problem.time_rate if own else problem.rates.step_size[0] * config.opt.rescaling_decay
    return jnp.minimum(jnp.ceil(config.opt.horizon / rate), config.opt.num_steps).astype(jnp.int32)


def _observe_gap(states: Pair, problems: Pair, shared: tuple) -> dict[str, Array]:
    few, full = (monitored.state.iterate.weights for monitored in states)
    gaps = [jnp.max(jnp.abs(W - other)) for W, other in zip(few, full, strict=True)]
    return {"weight_gap": jnp.max(jnp.stack(gaps))}
