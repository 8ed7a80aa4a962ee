"""Figure 5's wall times: compressed, narrow and full networks at d = 300, r = 5, L = 3, 20% of the entries, float64.

The networks are those of configs/completion_compressed.py. Two are stepped in turn in one process, each in a loop of
its own inside a compiled program, with the checks that a run makes at every step. "a step" is the ratio of two in the
same turn: the median, and the least and the most of all turns. "to the tolerance" is the time to a mean loss of 1e-10:
that ratio times the ratio of the steps, which are counted once for one draw. The full network is not run to the
tolerance.
"""

import statistics
from collections.abc import Callable

import jax
from jax import lax
from ml_collections import ConfigDict

from benchmarks.timing import alternate
from experiments.laws.parsimony.completion import EXPERIMENT
from experiments.runner import settings
from experiments.runner.checkout import SOURCE
from lawlib.dynamics.system import simulate
from lawlib.types import PyTree

STEPS, REPEATS = 100, 9


def measure() -> dict[str, float]:
    """Milliseconds a step of each network, and over the compressed one: a step, steps, and time to the tolerance."""
    config = settings.load(f"{SOURCE}/configs/completion_compressed.py:cpu")
    networks = dict(settings.expand(config))
    estimates = [own.net.rank for own in networks.values() if own.net.kind == "compressed"]
    measured = {}
    for rank in estimates:
        narrow, compressed = (networks[f"{kind}_{rank}"] for kind in ("narrow", "compressed"))
        over = f"r^ = {rank}: narrow / compressed"
        stepped = _turns(f"r^ = {rank}", "narrow", narrow, compressed)
        steps = _to_tolerance(narrow) / _to_tolerance(compressed)
        in_time = {
            f"{over}, steps to the tolerance": steps,
            f"{over}, to the tolerance": steps * stepped[f"{over}, a step"],
        }
        measured |= stepped | in_time
    compressed = networks[f"compressed_{estimates[0]}"]
    full = ConfigDict(compressed.to_dict())
    full.net.kind = "full"
    return measured | _turns(f"r^ = {estimates[0]}", "full", full, compressed)


def _turns(at: str, name: str, other: ConfigDict, compressed: ConfigDict) -> dict[str, float]:
    """A network and the compressed one in turn."""
    slow, quick, ratios = alternate(_steps(other), _steps(compressed), REPEATS)
    over = f"{at}: {name} / compressed, a step"
    return {
        f"{at}: {name}, ms a step": slow / STEPS * 1e3,
        f"{at}: compressed, ms a step": quick / STEPS * 1e3,
        over: statistics.median(ratios),
        f"{over}, least": min(ratios),
        f"{over}, most": max(ratios),
    }


def _steps(config: ConfigDict) -> Callable[[], PyTree]:
    """``STEPS`` steps from the first weights."""
    dynamics = EXPERIMENT.dynamics(config)
    problem, start = jax.jit(lambda key: dynamics.init(key, {}, ()))(jax.random.key(0))

    @jax.jit
    def run(problem: PyTree, start: PyTree) -> PyTree:
        return lax.fori_loop(0, STEPS, lambda t, state: dynamics.step(t, state, problem, ()), start)

    return lambda: run(problem, start)


def _to_tolerance(config: ConfigDict) -> float:
    """Steps of one draw to the tolerance."""
    dynamics, times = EXPERIMENT.dynamics(config), [0, config.opt.num_steps]
    reached = jax.jit(lambda key: simulate(dynamics, key, {}, (), times).state.converged_at)(jax.random.key(0))
    if reached < 0:
        msg = f"{config.net.kind}, r^ = {config.net.rank}: not at the tolerance after {config.opt.num_steps} steps"
        raise RuntimeError(msg)
    return float(reached)
