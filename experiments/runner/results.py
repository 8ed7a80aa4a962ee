"""Results as labelled arrays, put together from the pieces of a run, one piece in memory at a time."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner import settings
from experiments.runner.experiment import Variable

__all__ = ["Block", "Column", "Streamed", "assemble", "check_declared", "streamed"]

MARKS = {
    "converged_at": "first step at which it was done",
    "diverged_at": "first step with a value not finite",
}

# What a segment of a chunk observed: arrays with members first and times second, and the two marks of each member.
Piece = Mapping[str, np.ndarray]
Place = tuple[slice, ...]
# The name of a variable, a place in it, and the values there.
Block = tuple[str, Place, np.ndarray]


class Column(NamedTuple):
    """A variable of the results without its values: axes, shape, type, and what is said of it."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: Mapping[str, str]


class Streamed(NamedTuple):
    """The results of one variant: the labels of its axes, its variables, and their values block by block."""

    labels: xr.Dataset
    columns: Mapping[str, Column]
    blocks: Iterable[Block]


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


def streamed(
    name: str,
    config: ConfigDict,
    times: np.ndarray,
    chunks: Iterable[Iterable[Piece]],
    variables: Mapping[str, Variable],
    seeds: range | None = None,
) -> Streamed:
    """The labelled observations of one variant; members become the grid of seed and swept hyperparameters.

    ``chunks`` holds, for each chunk of members in order, the pieces of its segments: arrays with members first and
    times second. It is read once, as the blocks are. ``seeds`` are those of the members, by default all of the config.
    """
    hyperparameters = settings.hyperparameters(config)
    swept = {field.split(".")[-1]: np.asarray(values) for field, values in hyperparameters.items()}
    axes = {"seed": np.asarray(seeds or range(config.num_seeds)), **swept}
    grid = tuple(len(values) for values in axes.values())
    in_order = iter(chunks)
    pieces = iter(next(in_order))
    first = next(pieces)

    def column(field: str, about: Variable, **step: int) -> Column:
        attrs = {"units": about.units, "long_name": about.meaning, "source": about.source}
        shape = *grid, *step.values(), *first[field].shape[1 + len(step) :]
        return Column((*axes, *step, *about.dims), shape, first[field].dtype, attrs)

    columns = {field: column(field, about, step=len(times)) for field, about in variables.items() if field in first}
    columns |= {mark: column(mark, Variable((), "step", f"{text}; -1: never")) for mark, text in MARKS.items()}
    labels = xr.Dataset({}, {**axes, "step": times}, {"variant": name, "config": json.dumps(settings.to_plain(config))})
    everything = chain([chain([first], pieces)], in_order)
    return Streamed(labels, columns, _blocks(everything, columns, grid))


def assemble(
    name: str,
    config: ConfigDict,
    times: np.ndarray,
    chunks: Iterable[Iterable[Piece]],
    variables: Mapping[str, Variable],
) -> xr.Dataset:
    """What ``streamed`` describes, whole in memory."""
    labels, columns, blocks = streamed(name, config, times, chunks, variables)
    arrays = {field: np.empty(column.shape, column.dtype) for field, column in columns.items()}
    for field, place, values in blocks:
        arrays[field][place] = values
    return labels.assign({field: (column.dims, arrays[field], column.attrs) for field, column in columns.items()})


def _blocks(chunks: Iterable[Iterable[Piece]], columns: Mapping[str, Column], grid: tuple[int, ...]) -> Iterator[Block]:
    """Where each piece goes. A chunk that ended early is frozen, so its last observation repeats."""
    fields = [field for field in columns if field not in MARKS]
    num_times = columns[fields[0]].shape[len(grid)]
    start = 0
    for pieces in chunks:
        seen, longest, count, ends = 0, 0, 0, {}
        piece: Piece = {}
        boxes: list[tuple[slice, Place]] = []
        for piece in pieces:
            count, length = piece[fields[0]].shape[:2]
            boxes = list(_boxes(start, start + count, grid))
            if length:  # a call that was cut may have observed nothing
                yield from _placed(piece, fields, start, boxes, slice(seen, seen + length))
                seen, longest = seen + length, max(longest, length)
                ends = {field: piece[field][:, -1:] for field in fields}
        yield from _placed(piece, MARKS, start, boxes)
        while seen < num_times:  # in parts that memory has room for
            steps = min(longest, num_times - seen)
            repeated = {field: np.repeat(values, steps, axis=1) for field, values in ends.items()}
            yield from _placed(repeated, fields, start, boxes, slice(seen, seen + steps))
            seen += steps
        start += count


def _placed(
    piece: Piece, fields: Iterable[str], start: int, boxes: Iterable[tuple[slice, Place]], *steps: slice
) -> Iterator[Block]:
    for rows, place in boxes:
        shape = tuple(part.stop - part.start for part in place)
        for field in fields:
            values = piece[field][rows.start - start : rows.stop - start]
            yield field, (*place, *steps), values.reshape(*shape, *values.shape[1:])


def _boxes(start: int, stop: int, grid: tuple[int, ...]) -> Iterator[tuple[slice, Place]]:
    """Cut consecutive members into boxes of the grid whose order they have: the members and the place of each."""
    while start < stop:
        inner = math.prod(grid[1:])
        index, within = divmod(start, inner)
        count = (stop - start) // inner
        if within or not count:  # a part of what lies below one index of the first axis
            below, end = index * inner, min(stop, (index + 1) * inner)
            for rows, place in _boxes(start - below, end - below, grid[1:]):
                yield slice(rows.start + below, rows.stop + below), (slice(index, index + 1), *place)
        else:
            end = start + count * inner
            yield slice(start, end), (slice(index, index + count), *(slice(0, length) for length in grid[1:]))
        start = end
