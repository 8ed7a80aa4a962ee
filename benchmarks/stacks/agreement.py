"""Runs of configs by both stacks: their seconds, and what they agree in."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.stacks.children import Row, Stack, run
from experiments.runner.finished import FinishedRun
from experiments.runs import load

CONFIGS = tuple(
    f"configs/{name}.py:smoke"
    for name in ("dln_momentum", "collapse_scale", "mlp_theorem", "jumps_periodic", "induced_flow", "inverse_theorem")
)
DEMO = ("configs/dln_parsimony.py",)
CLOSE = 1e-6
# A claim that fails is no error here: the verdicts are compared.
DONE, CLAIM_FAILED = 0, 1


class Difference(NamedTuple):
    """The largest difference of a variable, the largest value, and their ratio; all 0 where it is equal everywhere."""

    name: str
    most: float
    scale: float
    relative: float


def rows(stacks: tuple[Stack, Stack], configs: Sequence[str], folder: Path) -> Iterator[Row]:
    """Three rows for each config; every other config is run by the second stack first."""
    for number, config in enumerate(configs):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        ran = {i: _run(stacks[i], config, folder / f"{number}-{i}") for i in order}
        yield from compared(Path(config).name, ran[0], ran[1])


def _run(stack: Stack, config: str, folder: Path) -> tuple[float, FinishedRun]:
    command = ("-m", "experiments.main", f"--config={config}", f"--workdir={folder}", "--strict")
    began = time.perf_counter()
    run(stack.python, *command, fine=(DONE, CLAIM_FAILED))
    return time.perf_counter() - began, load(folder)


def compared(name: str, first: tuple[float, FinishedRun], second: tuple[float, FinishedRun]) -> Iterator[Row]:
    """Seconds with those of compilation and of the run itself; verdicts; variables."""
    (wall, one), (other_wall, other) = first, second
    took = _seconds(wall, one.provenance), _seconds(other_wall, other.provenance)
    yield Row(f"{name}: s in all (compilation, run)", took, f"{other_wall / wall:.3g}")
    verdicts, others = ({claim.id: claim.status for claim in each.claims} for each in (one, other))
    apart = sorted(id for id in verdicts | others if verdicts.get(id) != others.get(id))
    counted = _counted(verdicts.values()), _counted(others.values())
    yield Row(f"{name}: verdicts", counted, f"different: {', '.join(apart)}" if apart else "equal")
    found = differences(one, other)
    exact, close = (sum(each.relative <= bound for each in found) for bound in (0, CLOSE))
    said = f"{exact} of {len(found)} equal exactly, {close} to {CLOSE:g} of the largest value"
    if exact < len(found):
        furthest = max(found, key=lambda each: each.relative)
        said += f"; furthest apart: {furthest.name}, by {furthest.most:.2g} of {furthest.scale:.2g}"
    yield Row(f"{name}: variables", (str(len(_values(one))), str(len(_values(other)))), said)


def _counted(verdicts: Iterable[str]) -> str:
    return ", ".join(f"{verdict}: {number}" for verdict, number in Counter(verdicts).items())


def _seconds(wall: float, provenance: dict) -> str:
    return f"{wall:.1f} ({provenance['compile_s']:.1f}, {provenance['run_s']:.1f})"


def differences(one: FinishedRun, other: FinishedRun) -> list[Difference]:
    """How far apart each variable of each variant is; one that only one of them has is infinitely far."""
    values, others = _values(one), _values(other)
    return [difference(name, values.get(name), others.get(name)) for name in sorted(values | others)]


def difference(name: str, a: np.ndarray | None, b: np.ndarray | None) -> Difference:
    """How far apart two arrays are: NaN equals NaN, and nothing else equals it."""
    if a is None or b is None or a.shape != b.shape:
        return Difference(name, np.inf, np.nan, np.inf)
    a, b = a.astype(float), b.astype(float)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return Difference(name, 0.0, 0.0, 0.0)
    off = np.abs(a[~same] - b[~same])
    most = float(np.where(np.isnan(off), np.inf, off).max())
    scale = max(float(np.max(np.abs(x), where=np.isfinite(x), initial=0.0)) for x in (a, b))
    return Difference(name, most, scale, most / scale if scale else np.inf)


def _values(ran: FinishedRun) -> dict[str, np.ndarray]:
    tree = ran.results
    return {
        f"{variant}/{name}": values.to_numpy()
        for variant, node in tree.children.items()
        for name, values in node.data_vars.items()
    }
