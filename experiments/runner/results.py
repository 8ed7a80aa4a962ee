"""Results as labelled arrays, put together from the pieces of a run."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner import settings
from experiments.runner.experiment import Variable

__all__ = ["assemble", "check_declared"]

MARKS = {
    "converged_at": "first step at which it was done",
    "diverged_at": "first step with a value not finite",
}


def check_declared(name: str, seen: Mapping[str, Any], variables: Mapping[str, Variable]) -> None:
    """Compare what a variant observes, as shapes, with what the experiment declares, before anything is computed.

    Raises:
        ValueError: An observation is not declared, or has other axes.
    """
    for field, value in seen.items():
        declared = variables.get(field)
        if declared is None:
            msg = f"variant {name} observes {field}, which the experiment's VARIABLES do not declare"
            raise ValueError(msg)
        if len(value.shape) != len(declared.dims):
            msg = f"variant {name} observes {field} of shape {value.shape}, and VARIABLES declare axes {declared.dims}"
            raise ValueError(msg)


def assemble(
    name: str,
    config: ConfigDict,
    times: np.ndarray,
    chunks: Iterable[Sequence[Mapping[str, np.ndarray]]],
    variables: Mapping[str, Variable],
) -> xr.Dataset:
    """The labelled observations of one variant; members become the grid of seed and swept hyperparameters.

    ``chunks`` holds, for each chunk, the pieces of its segments: arrays with members first and times second.
    """
    hyperparameters = settings.hyperparameters(config)
    swept = {field.split(".")[-1]: np.asarray(values) for field, values in hyperparameters.items()}
    axes = {"seed": np.arange(config.num_seeds), **swept}
    shape = tuple(len(values) for values in axes.values())
    joined = [_join(pieces, len(times)) for pieces in chunks]

    def labelled(field: str, about: Variable, *step: str) -> tuple:
        values = np.concatenate([chunk[field] for chunk in joined])
        attrs = {"units": about.units, "long_name": about.meaning, "source": about.source}
        return (*axes, *step, *about.dims), values.reshape(*shape, *values.shape[1:]), attrs

    data = {field: labelled(field, about, "step") for field, about in variables.items() if field in joined[0]}
    data |= {mark: labelled(mark, Variable((), "step", f"{text}; -1: never")) for mark, text in MARKS.items()}
    attrs = {"variant": name, "config": json.dumps(settings.to_plain(config))}
    return xr.Dataset(data, {**axes, "step": times}, attrs)


def _join(pieces: Sequence[Mapping[str, np.ndarray]], num_times: int) -> dict[str, np.ndarray]:
    """Join the segments of a chunk in time; one that ended early is frozen, so its last observation repeats."""
    whole: dict[str, np.ndarray] = {mark: pieces[-1][mark] for mark in MARKS}
    for field in pieces[0].keys() - MARKS.keys():
        values = np.concatenate([piece[field] for piece in pieces], axis=1)
        whole[field] = np.concatenate([values, np.repeat(values[:, -1:], num_times - values.shape[1], axis=1)], axis=1)
    return whole
