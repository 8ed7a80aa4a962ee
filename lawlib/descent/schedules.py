"""Schedules of step size and weight decay in phases, whose lengths and rates may be traced."""

import math
import numbers
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lawlib.descent.rates import Rates
from lawlib.types import Array, Int, Number

__all__ = ["Phase", "Schedule", "branched", "expand", "piecewise", "rates_at"]


class Phase(NamedTuple):
    """A number of steps with one step size and one weight decay."""

    num_steps: Number
    step_size: Number
    weight_decay: Number


class Schedule(NamedTuple):
    """Rates of p phases and of the tail after them: phase k holds for the steps ends[k - 1] <= t < ends[k].

    ``ends`` (p,) are nondecreasing step numbers; ``rates`` have p + 1 values, and the last holds for all later steps.
    """

    ends: Int[Array, " p"]
    rates: Rates


def piecewise(phases: Sequence[tuple], tail: tuple, dtype: DTypeLike = float) -> Schedule:
    """The schedule of these phases (num_steps, step_size, weight_decay), one after the other, then the tail for all
    later steps.

    ``period * 3`` of a list of phases repeats it. Every number may be traced; lengths are rounded. A phase of no steps
    is skipped.

    Raises:
        ValueError: a length is a number that is negative or not finite, or a phase or the tail lacks a number.
    """
    if bad := [given for given, size in [*((phase, 3) for phase in phases), (tail, 2)] if len(given) != size]:
        msg = f"a phase is (num_steps, step_size, weight_decay) and the tail (step_size, weight_decay), got {bad[0]}"
        raise ValueError(msg)
    lengths = [phase[0] for phase in phases]
    for length in lengths:
        _check_steps("the length of a phase", length)
    ends = jnp.cumsum(jnp.stack([jnp.zeros((), jnp.int32), *map(_steps, lengths)]), dtype=jnp.int32)[1:]
    rates = zip(*[*(p[1:] for p in phases), tail], strict=True)
    return Schedule(ends, Rates(*(jnp.stack([jnp.asarray(x, dtype) for x in each]) for each in rates)))


def branched(schedule: Schedule, time: Number, rates: tuple) -> Schedule:
    """The same schedule up to step ``time``, and these rates afterwards: a branch of a run.

    Raises:
        ValueError: time is a number that is negative or not finite.
    """
    _check_steps("the time of a branch", time)
    at = _steps(time)
    ends = jnp.append(jnp.minimum(schedule.ends, at), at)
    later = (jnp.append(all_of, jnp.asarray(x, all_of.dtype)) for all_of, x in zip(schedule.rates, rates, strict=True))
    return Schedule(ends, Rates(*later))


def rates_at(schedule: Schedule, step: Int[Array, ""] | int) -> Rates:
    """The rates of step number ``step`` = 0, 1, ...; no array over the steps is needed."""
    phase = jnp.sum(schedule.ends <= step, dtype=jnp.int32)
    return Rates(*(all_of[phase] for all_of in schedule.rates))


def expand(schedule: Schedule, num_steps: int) -> Rates:
    """The rates of the steps 0, ..., num_steps - 1 as arrays, for a scan.

    Raises:
        ValueError: num_steps is negative.
    """
    _check_steps("num_steps", num_steps)
    return jax.vmap(lambda step: rates_at(schedule, step))(jnp.arange(num_steps, dtype=jnp.int32))


def _steps(length: Number) -> Int[Array, ""]:
    return jnp.round(jnp.asarray(length)).astype(jnp.int32)


def _check_steps(name: str, length: Number) -> None:
    if isinstance(length, numbers.Real) and not 0 <= length < math.inf:
        msg = f"{name} must be a number of steps >= 0, got {length}"
        raise ValueError(msg)
