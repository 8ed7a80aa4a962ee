"""Methods trained on one task side by side: scores against steps and seconds, as tables and as a picture.

The step size of each method is searched in a grid with the first seed: that with the best mean validation score over
all checkpoints is kept. Seconds are CPU time of the process, all threads together, without compilation: other processes
do not enter, but they make the memory and the caches slower.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from matplotlib.figure import Figure

from benchmarks.page import Table
from benchmarks.timing import cpu_seconds
from experiments.runner import plots

__all__ = ["Curve", "Method", "Start", "Task", "averages", "figure", "quickly_started", "raced", "tables"]


class Task(NamedTuple):
    """Data in three parts, a batch of the training data by a key, and whether the larger score is the better one."""

    name: str
    training: Any
    validation: Any
    test: Any
    draw: Callable[[jax.Array, Any], Any]
    larger_is_better: bool


class Start(NamedTuple):
    """What is trained, what stays, the CPU seconds that finding them took, and the share of certified triplets."""

    trained: Any
    frozen: Any
    seconds: float
    certified: float = math.nan


class Method(NamedTuple):
    """``start(seed)``, ``loss(trained, frozen, batch)`` and ``score(trained, frozen, data)``.

    Methods with the same two functions and shapes share a compiled program. ``grid`` replaces that of the optimizer.
    """

    name: str
    start: Callable[[int], Start]
    loss: Callable[[Any, Any, Any], jax.Array]
    score: Callable[[Any, Any, Any], jax.Array]
    grid: Sequence[float] = ()


class Curve(NamedTuple):
    """A method on a task: test scores by seed and checkpoint, and median CPU seconds of its start and of a step.

    ``certified`` is the share of layers and seeds whose triplets are certified, not a number for starts without any.
    """

    task: str
    optimizer: str
    method: str
    step_size: float
    steps: tuple[int, ...]
    scores: np.ndarray
    start_s: float
    step_s: float
    certified: float

    @property
    def seconds(self) -> np.ndarray:
        """CPU seconds at each checkpoint, the start included."""
        return self.start_s + self.step_s * np.asarray(self.steps)


class _Run(NamedTuple):
    validation: np.ndarray
    test: np.ndarray
    start_s: float
    step_s: float
    certified: float


def quickly_started(start: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """start(*arguments), compiled, and its CPU seconds after one call that warms up."""
    compiled = jax.jit(start)
    found = jax.block_until_ready(compiled(*arguments))
    return found, cpu_seconds(lambda: compiled(*arguments))


def raced(
    task: Task,
    methods: Sequence[Method],
    optimizers: Mapping[str, tuple[optax.GradientTransformation, Sequence[float]]],
    *,
    seeds: int,
    steps: int,
    every: int,
) -> list[Curve]:
    """A curve for each method and optimizer; ``optimizers`` have a direction of descent, and a grid of step sizes."""
    programs: dict[Any, Any] = {}
    curves = []
    for (name, (optimizer, grid)), method in itertools.product(optimizers.items(), methods):
        shared = (name, method.loss, method.score)
        if shared not in programs:
            programs[shared] = _programs(method, optimizer, task, every)

        def run(seed: int, step_size: float, programs: Any = programs[shared], method: Method = method) -> _Run:
            return _run(programs, method.start(seed), task, seed, step_size, steps // every, every)

        first = {size: run(0, size) for size in method.grid or grid}
        step_size = best(first, task.larger_is_better)
        runs = [first[step_size], *(run(seed, step_size) for seed in range(1, seeds))]
        scores = np.stack([each.test for each in runs])
        start_s, step_s = (statistics.median(times) for times in ([r.start_s for r in runs], [r.step_s for r in runs]))
        certified = statistics.mean(each.certified for each in runs)
        counts = tuple(range(0, steps + 1, every))
        curves.append(Curve(task.name, name, method.name, step_size, counts, scores, start_s, step_s, certified))
        print(f"{task.name}, {name}, {method.name}: {step_size:g}, {scores[:, -1].mean():.4g}", flush=True)
    return curves


def best(runs: Mapping[float, _Run], larger_is_better: bool) -> float:
    """The step size with the best mean validation score from the first checkpoint on; not finite is the worst."""
    means = {size: float(run.validation[1:].mean()) * (1 if larger_is_better else -1) for size, run in runs.items()}
    return max(means, key=lambda size: means[size] if math.isfinite(means[size]) else -math.inf)


def _programs(method: Method, optimizer: optax.GradientTransformation, task: Task, every: int) -> Any:
    """``every`` steps, the optimizer's first state, and the score."""

    @jax.jit
    def advance(at: Any, frozen: Any, training: Any, key: jax.Array, first: int, step_size: float) -> Any:
        def step(at: Any, t: jax.Array) -> tuple[Any, None]:
            trained, state = at
            batch = task.draw(jax.random.fold_in(key, t), training)
            updates, state = optimizer.update(jax.grad(method.loss)(trained, frozen, batch), state)
            return (jax.tree.map(lambda x, u: (x - step_size * u).astype(x.dtype), trained, updates), state), None

        return lax.scan(step, at, first + jnp.arange(every))[0]

    return advance, jax.jit(optimizer.init), jax.jit(method.score)


def _run(programs: Any, start: Start, task: Task, seed: int, step_size: float, segments: int, every: int) -> _Run:
    advance, init, score = programs
    key, at = jax.random.key(1000 + seed), (start.trained, init(start.trained))
    scored, times = [], []

    def look() -> None:
        scored.append([float(score(at[0], start.frozen, part)) for part in (task.validation, task.test)])

    look()
    for segment in range(segments):
        began = time.process_time()
        at = jax.block_until_ready(advance(at, start.frozen, task.training, key, segment * every, step_size))
        times.append(time.process_time() - began)
        look()
    validation, test = map(np.asarray, zip(*scored, strict=True))
    # Of all segments the first may compile, which the median does not see.
    return _Run(validation, test, start.seconds, statistics.median(times) / every, start.certified)


# Tables and a picture. ------------------------------------------------------------------------------------------------


def tables(curves: Iterable[Curve], steps: Sequence[int], full: str, budgets: Sequence[int]) -> list[Table]:
    """A table for each task and optimizer: scores after ``steps``, and in the seconds of ``budgets`` steps of ``full``.

    A score is the mean over the seeds, with the least and the most.
    """
    found = []
    for (task, optimizer), group in itertools.groupby(curves, key=lambda curve: curve[:2]):
        own = list(group)
        (whole,) = (curve for curve in own if curve.method == full)
        head = ["method", "step size", "start, CPU s", "certified", "step, CPU ms"]
        head += [f"after {n} steps" for n in steps]
        head += [f"in the time of {n} {full} steps" for n in budgets]
        rows = []
        for curve in own:
            certified = "" if math.isnan(curve.certified) else f"{curve.certified:.0%}"
            cells = [
                curve.method,
                f"{curve.step_size:g}",
                f"{curve.start_s:.2g}",
                certified,
                f"{1e3 * curve.step_s:.3g}",
            ]
            cells += [_cell(curve, curve.steps.index(n)) for n in steps]
            cells += [_cell(curve, _within(curve, n * whole.step_s)) for n in budgets]
            rows.append(cells)
        found.append(Table(head, rows, f"{task}, {optimizer}"))
    return found


def averages(curves: Sequence[Curve], steps: Sequence[int]) -> Table:
    """A table of the means over all tasks and seeds after ``steps``, of the methods that every task has."""
    found = {(curve.task, curve.optimizer, curve.method): curve for curve in curves}
    tasks, optimizers, methods = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    columns = list(itertools.product(optimizers, steps))
    head = ["method", *(f"{optimizer}, after {n} steps" for optimizer, n in columns)]
    rows = []
    for method in methods:
        if any((task, optimizer, method) not in found for task in tasks for optimizer in optimizers):
            continue
        own = [[found[task, optimizer, method] for task in tasks] for optimizer, _ in columns]
        means = (
            float(np.mean([curve.scores[:, curve.steps.index(n)].mean() for curve in each]))
            for each, (_, n) in zip(own, columns, strict=True)
        )
        rows.append([method, *means])
    return Table(head, rows, "Mean over all tasks")


def _within(curve: Curve, seconds: float) -> int | None:
    """The last checkpoint within these seconds."""
    reached = np.flatnonzero(curve.seconds <= seconds * (1 + 1e-9))
    return int(reached[-1]) if reached.size else None


def _cell(curve: Curve, place: int | None) -> str:
    if place is None:
        return "not started"
    scores = curve.scores[:, place]
    return f"{scores.mean():.4g} ({scores.min():.4g} to {scores.max():.4g})"


def figure(curves: Sequence[Curve], methods: Mapping[str, str], score: str) -> Figure:
    """Means over the seeds, with the range: a column for each task, rows by optimizer, over steps and over seconds.

    ``methods`` are those that are drawn, {method: name in the legend}.
    """
    tasks, optimizers = (
        list(dict.fromkeys(names)) for names in ([c.task for c in curves], [c.optimizer for c in curves])
    )
    drawn = plots.figure(3.2 * len(tasks), 2.6 * 2 * len(optimizers) + 0.6)
    panels = drawn.subplots(2 * len(optimizers), len(tasks), squeeze=False, sharey="col")
    looks = dict(zip(methods, plots.looks(len(methods)), strict=True))
    for curve in curves:
        if curve.method not in methods:
            continue
        row, column = 2 * optimizers.index(curve.optimizer), tasks.index(curve.task)
        for axes, over in ((panels[row, column], curve.steps[1:]), (panels[row + 1, column], curve.seconds[1:])):
            low, high = curve.scores.min(0)[1:], curve.scores.max(0)[1:]
            look = looks[curve.method]
            axes.semilogx(over, curve.scores.mean(0)[1:], label=methods[curve.method], **look.curve)
            axes.fill_between(over, low, high, color=look.colour, alpha=0.12, linewidth=0)
    for (row, optimizer), (column, task) in itertools.product(enumerate(optimizers), enumerate(tasks)):
        panels[2 * row, column].set(title=f"{task}, {optimizer}", xlabel="steps", ylabel=score)
        panels[2 * row + 1, column].set(xlabel="CPU seconds, start included", ylabel=score)
    lines = panels[0, 0].lines
    drawn.legend(lines, [line.get_label() for line in lines], loc="outside lower center", ncols=5)
    return drawn
