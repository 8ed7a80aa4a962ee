"""The end of a run: claims, summary and figures, from results.nc alone."""

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.runner import claims, plots, summary
from experiments.runner.experiment import Experiment
from experiments.runner.files import write_atomic
from experiments.runner.laws import judged
from experiments.runner.layout import shortened
from experiments.runner.runs import Run, divergence, runs
from experiments.runner.stopping import Stop
from experiments.runner.store import RunFolder

__all__ = ["conclude"]


def conclude(experiment: Experiment, folder: RunFolder, stop: Stop) -> None:
    """Judge the claims, summarize the runs and draw the figures.

    The verdict does not wait for the figures; claims.json, which makes the folder complete, does.
    """
    stop.check()
    with folder.read_results() as results:
        found, about = runs(results), _about(folder)
        warn_of_divergence(found)
        verdict = judged(experiment.laws, found)
        numbers = summary.summarized(found, experiment.summary, experiment.comparisons)
        write_atomic(folder.path / "claims.md", claims.markdown(verdict, about))
        write_atomic(folder.path / "summary.md", summary.markdown(numbers))
        folder.write_json("summary.json", shortened(numbers))
        for name, figure in experiment.figures(runs(results, drawn=True)).items():
            stop.check()
            plots.note(figure, divergence(found))
            plots.save(figure, folder.path / "figures", name)
    write_atomic(folder.path / "claims.json", claims.to_json(verdict, about))


def warn_of_divergence(found: Sequence[Run]) -> None:
    """Warn, in a line each, of runs in which members diverged."""
    for run in found:
        if run.num_diverged:
            first = int(np.min(run.data.diverged_at.values[run.diverged]))
            text = f"{run.label}: {run.num_diverged} of {run.num_seeds} members diverged, first at step {first}"
            warnings.warn(text, stacklevel=2)


def _about(folder: RunFolder) -> dict[str, Any]:
    """What the tables say of the run: seeds, source, machine and wall time."""
    config = json.loads((folder.path / "config.json").read_bytes())
    known: Mapping[str, Any] = folder.provenance()
    # A provenance that is lost leaves these unknown: no time is not a time of 0 s.
    spent = [known[name] for name in ("compile_s", "run_s") if known.get(name) is not None]
    return {
        "experiment": config["experiment"],
        "seed": config["seed"],
        "num_seeds": config["num_seeds"],
        "commit": known.get("git_commit"),
        "clean": known.get("git_clean"),
        "versions": known.get("versions", {}),
        **{name: known.get(name) for name in ("platform", "device_kind", "device_count")},
        "wall_s": round(sum(spent), 1) if len(spent) == 2 else None,
    }
