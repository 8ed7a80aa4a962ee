"""Figure 1's annealing, L = 3, width 100: 64 members of 20,000 SGD steps in float64, monitored at every step.

The experiment's own sweep, one member at a time, since its 80 kB matrix then stays in the cache; the bare steps without
the monitor; and a plain ``jax.vmap`` of ``jax.grad`` of the squared error of one entry of W_3 W_2 W_1, timed over fewer
steps, from which its seconds for all of them follow.
"""

import functools as ft
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from benchmarks.timing import median, seconds
from experiments.laws.rank_jumps.sgd import system as sgd
from experiments.runner.run import observation_times
from experiments.runner.settings import expand, read
from lawlib.descent.schedules import rates_at
from lawlib.descent.single_entry import Entry, Tracked, form, track, tracked_step
from lawlib.dynamics.sweep import grid, plan, sweep
from lawlib.dynamics.system import Monitored

MEMBERS, STEPS, PLAIN_STEPS, REPEATS = 64, 20_000, 1000, 3


def measure() -> dict[str, float]:
    """Seconds of the sweep with and without compilation, of its bare steps, and of the plain vmap of jax.grad."""
    config = annealing()
    system, key, members = sgd.dynamics(config), jax.random.key(0), grid(MEMBERS, {}, "float64")
    times, mesh = observation_times(config), jax.make_mesh((1,), ("members",))
    cut = plan(system, key, members, (), len(times), on_cpu=True, batch=config.run.batch)

    def run() -> list:
        return [s.observations for s in sweep(system, key, members, (), times.tolist(), plan=cut, mesh=mesh)]

    with_compilation = seconds(run)
    problems, states = draw(config)
    weights = states.state.network.weights
    plain = jax.jit(jax.vmap(_plain))
    with_plain_compilation = seconds(lambda: plain(problems, weights))
    plain_rate = median(lambda: plain(problems, weights), REPEATS) / PLAIN_STEPS
    return {
        "sweep_with_compilation_s": with_compilation,
        "sweep_s": (ours := median(run, REPEATS)),
        "sweep_us_a_member_step": ours / MEMBERS / STEPS * 1e6,
        "bare_steps_us_a_member_step": median(bare_steps(problems, states), REPEATS) / MEMBERS / PLAIN_STEPS * 1e6,
        "plain_vmap_of_grad_s": plain_rate * STEPS,
        "plain_vmap_of_grad_compilation_s": with_plain_compilation - plain_rate * PLAIN_STEPS,
        "plain_vmap_of_grad_us_a_member_step": plain_rate / MEMBERS * 1e6,
        "plain_over_sweep": plain_rate * STEPS / ours,
    }


def annealing() -> ConfigDict:
    """The config of the steps that are timed."""
    config = next(v.config for v in expand(read("configs/jumps_annealing.py")) if v.name == "without_replacement")
    with config.unlocked():
        config.opt.draws, config.opt.num_steps = "with_replacement", STEPS
    return config


def draw(config: ConfigDict) -> tuple[sgd.Problem, Monitored]:
    """The problems of all members and where they start, members first."""
    system, key = sgd.dynamics(config), jax.random.key(0)
    keys = jax.vmap(ft.partial(jax.random.fold_in, key))(jnp.arange(MEMBERS))
    return jax.jit(jax.vmap(lambda k: system.init(k, {}, ())))(keys)


def bare_steps(problems: sgd.Problem, states: Monitored) -> Callable[[], jax.Array]:
    """``PLAIN_STEPS`` steps of each member in turn, without the monitor."""
    bare = jax.jit(lambda *each: lax.map(lambda one: _bare(*one), each))
    return lambda: bare(problems, states)


def _at(problem: sgd.Problem, step: jax.Array) -> tuple[Entry, dict[str, jax.Array]]:
    k, observed = problem.draws[step], problem.observed
    entry = Entry(observed.rows[k], observed.columns[k], observed.values[k])
    return entry, rates_at(problem.schedule, step)._asdict()


def _bare(problem: sgd.Problem, start: Monitored) -> jax.Array:
    """The experiment's steps, without its monitor."""

    def step(t: jax.Array, network: Tracked) -> Tracked:
        entry, rates = _at(problem, t)
        return tracked_step(network, entry, form("figures"), **rates)

    return lax.fori_loop(0, PLAIN_STEPS, step, track(start.state.network.weights)).product


def _plain(problem: sgd.Problem, weights: tuple) -> jax.Array:
    """The same steps as a user would write them first."""

    def loss(weights: tuple, entry: Entry) -> jax.Array:
        first, second, third = weights
        return jnp.square(entry.value - (third @ second @ first)[entry.row, entry.column])

    def step(t: jax.Array, weights: tuple) -> tuple:
        entry, rates = _at(problem, t)
        gradients, keep = jax.grad(loss)(weights, entry), 1 - rates["step_size"] * rates["weight_decay"]
        return jax.tree.map(lambda W, G: keep * W - rates["step_size"] * G, weights, gradients)

    first, second, third = lax.fori_loop(0, PLAIN_STEPS, step, weights)
    return third @ second @ first
