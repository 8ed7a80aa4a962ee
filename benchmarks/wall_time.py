"""Figure 5's wall times: compressed, narrow and full networks at d = 300, r = 5, L = 3, 20% of the entries, float64.

The networks are those of configs/completion_compressed.py. Two are stepped in turn in one process, each in a loop of
its own inside a compiled program, with the checks that a run makes at every step. "a step" is the ratio of two in the
same turn: the median, and the least and the most of all turns. "to the tolerance" is the time to a mean loss of 1e-10:
that ratio times the ratio of the steps, which are counted for one draw. The full network is not run to the
tolerance.
"""

import statistics
from collections.abc import Callable, Mapping

import jax
from jax import lax
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from benchmarks.timing import alternate
from experiments.laws.parsimony.completion import EXPERIMENT
from experiments.runner import plots, settings
from experiments.runner.checkout import SOURCE
from lawlib.dynamics.system import simulate
from lawlib.types import PyTree

KINDS, STEPS, REPEATS = ("narrow", "compressed"), 100, 9


def measure() -> dict[str, float]:
    """Milliseconds a step of each network, and over the compressed one: a step, steps, and time to the tolerance."""
    networks = dict(settings.expand(settings.load(f"{SOURCE}/configs/completion_compressed.py:cpu")))
    estimates = [own.net.rank for own in networks.values() if own.net.kind == "compressed"]
    measured = {}
    for rank in estimates:
        pair = {kind: networks[f"{kind}_{rank}"] for kind in KINDS}
        at, over = f"r^ = {rank}", f"r^ = {rank}: narrow / compressed"
        measured |= _turns(at, "narrow", *pair.values())
        steps = {kind: _to_tolerance(own) for kind, own in pair.items()}
        measured |= {f"{at}: {kind}, steps to the tolerance": count for kind, count in steps.items()}
        ratio = steps["narrow"] / steps["compressed"]
        measured |= {f"{over}, steps": ratio, f"{over}, to the tolerance": ratio * measured[f"{over}, a step"]}
    compressed = networks[f"compressed_{estimates[0]}"]
    full = ConfigDict(compressed.to_dict())
    full.net.kind = "full"
    return measured | _turns(f"r^ = {estimates[0]}", "full", full, compressed)


def figure(measured: Mapping[str, float]) -> Figure:
    """Figure 5, right: seconds to the tolerance over r^."""
    drawn = plots.figure(5.4, 3.8)
    axes = drawn.subplots()
    counted = {kind: f": {kind}, steps to the tolerance" for kind in KINDS}
    for look, (kind, name) in zip(plots.looks(len(KINDS)), counted.items(), strict=True):
        at = [row.removesuffix(name) for row in measured if row.endswith(name)]
        times = [measured[place + name] * measured[f"{place}: {kind}, ms a step"] / 1e3 for place in at]
        ranks = [int(place.removeprefix("r^ = ")) for place in at]
        axes.plot(ranks, times, marker=look.marker, label=f"{kind} network", **look.curve)
    axes.set(xlabel="estimated rank r̂", ylabel="seconds to the tolerance (steps × measured s a step)", ylim=(0, None))
    axes.set_title("d = 300, r = 5, L = 3, 20% observed")
    axes.legend(loc="center right")
    return drawn


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
