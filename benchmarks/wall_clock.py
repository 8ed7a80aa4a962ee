"""Figure 1, right, by the clock: the loss of the d x d network and of its small equivalent over wall time.

    python -m benchmarks.wall_clock RUN

RUN is a finished folder of dln_factorization:paper (d = 1000, r = 5, L = 3, float64). Its log has the clock at every
observation of the d x d network, whose steps include the equivalent's, which they are compared with, and the
observations. The small network alone is timed here, from its start to each loss, the median of five runs of another
draw, which takes a few more steps. Nothing is extrapolated. The losses are shares of the first one, from 0.99 to 0.4,
and then 1e-4 to 1e-10, which the d x d network passes between its last two observations.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks import page
from benchmarks.equivalent import draw, to_loss
from benchmarks.main import RESULTS, machine
from benchmarks.timing import median
from experiments.runner import plots
from experiments.runner.command import BAD_INPUT
from experiments.runner.finished import FinishedRun
from experiments.runner.run import prepare
from experiments.runner.store import InputError
from experiments.runs import load

__all__ = ["Clock", "clock", "compared", "main"]

NAME, VARIANT, REPEATS = "wall_clock", "pair_d1000_r5", 5
SHARES, ENDS = (0.99, 0.97, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4), (1e-4, 1e-7, 1e-10)
COLUMNS = ("mean loss", "d x d: step", "d x d: seconds", "small: step", "small: seconds", "d x d over small")


class Clock(NamedTuple):
    """Step, mean loss, and seconds since step 0, at every observation (n,)."""

    steps: np.ndarray
    losses: np.ndarray
    seconds: np.ndarray


def clock(run: FinishedRun) -> Clock:
    """When the d x d network of a run was at each observation.

    Raises:
        InputError: The run has no such network, or was interrupted, so that its log has no one clock.
    """
    if VARIANT not in run.variants:
        raise InputError([f"{run.path}: has no variant {VARIANT}; give a run of dln_factorization:paper"])
    member = run.results[VARIANT].isel(seed=0)
    records = [json.loads(line) for line in (run.path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    own = [record for record in records if record.get("variant") == VARIANT]
    if sum(record["doing"] == "compiling" for record in own) != 1:
        raise InputError([f"{run.path}: was interrupted, so that its log has no one clock; run it again in one go"])
    total = sum(results.sizes["seed"] * results.sizes["step"] for results in run.results.values())
    counts = [(record["share"] * total, _seconds(record)) for record in own if record["doing"] == "running"]
    # Between two observations a count has a fraction. Shares are rounded to six digits.
    at = {round(count): seconds for count, seconds in counts if abs(count - round(count)) < total * 1e-6}
    steps, losses, converged = member.step.values, member.full_loss.values, int(member.converged_at)
    # The observation that a network ends at is its last; with it the log counts all later ones as made.
    last = int(np.searchsorted(steps, converged)) if converged >= 0 else len(steps) - 1
    kept = [count - 1 for count in sorted(at) if 1 <= count <= last]
    if ended := [count for count in sorted(at) if count > last]:
        kept.append(last)
        at[last + 1] = at[ended[0]]
    if not kept:
        return Clock(steps[:0], losses[:0], np.zeros(0))
    reached = np.minimum(steps[kept], converged if converged >= 0 else steps[-1])
    return Clock(reached, losses[kept], np.array([at[place + 1] - at[kept[0] + 1] for place in kept]))


def _seconds(record: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(record["time"]).timestamp()


def small(levels: Sequence[float]) -> list[tuple[int, float]]:
    """Step and seconds of the small network alone at each mean loss."""
    reduction, run = draw()[2], jax.jit(to_loss)
    return [
        (int(run(reduction, level)), median(lambda level=level: run(reduction, level), REPEATS)) for level in levels
    ]


def compared(found: Clock) -> list[tuple[float, ...]]:
    """A row for each share of the first loss, and for the losses at the end, which fall within a few steps.

    Raises:
        InputError: The run did not get to the last of these losses.
    """
    if not (least := found.losses.min(initial=np.inf)) <= ENDS[-1]:
        raise InputError([f"the run got to a mean loss of {least:g} only, and {ENDS[-1]:g} is compared; let it finish"])
    levels = [share * float(found.losses[0]) for share in SHARES] + [*ENDS]
    rows = []
    for level, (step, seconds) in zip(levels, small(levels), strict=True):
        at = int(np.argmax(found.losses <= level))
        full = int(found.steps[at]), float(found.seconds[at])
        rows.append((level, *full, step, seconds, full[1] / seconds))
    return rows


def figure(found: Clock, rows: Sequence[tuple[float, ...]]) -> Figure:
    """Figure 1, right."""
    drawn = plots.figure(5.4, 3.8)
    axes = drawn.subplots()
    full, equivalent = plots.looks(2)
    axes.loglog(found.seconds[1:], found.losses[1:], label="d x d network", **full.curve)
    levels, seconds = zip(*((row[0], row[4]) for row in rows), strict=True)
    axes.loglog(seconds, levels, label="small equivalent", marker=equivalent.marker, **equivalent.curve)
    axes.set(xlabel="wall time in seconds", ylabel="mean loss", title="d = 1000, r = 5, L = 3, ε = 0.001")
    axes.legend(loc="lower center")
    return drawn


def main(arguments: Sequence[str]) -> int:
    """Read a run, time the small network, and write the page; return the exit code."""
    if len(arguments) != 1:
        print("give one run folder: python -m benchmarks.wall_clock RUN", file=sys.stderr)
        return BAD_INPUT
    try:
        found = clock(load(Path(arguments[0])))
        prepare()
        rows = compared(found)
    except InputError as refusal:
        print(*refusal.problems, sep="\n", file=sys.stderr)
        return BAD_INPUT
    table = page.Table(COLUMNS, rows)
    print(page.write(RESULTS, NAME, page.described(__doc__), [table], machine=machine()), flush=True)
    plots.save(figure(found, rows), RESULTS, NAME)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
