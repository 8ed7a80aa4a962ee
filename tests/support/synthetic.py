"""Images and results that tests make up: results as a run would write them, what the claims are tried on."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from experiments.data.idx import Images
from experiments.runner.experiment import load as load_experiment
from experiments.runner.laws import judged
from experiments.runner.results import assemble
from experiments.runner.run import observation_times
from experiments.runner.runs import runs
from experiments.runner.settings import expand, load

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.py"))


def unchanged(name, seen):
    """Break no law."""


class Case(NamedTuple):
    """A config, the overrides that make it small, the ids without a verdict on its lawful results, and its profile."""

    config: str
    words: tuple[str, ...] = ("num_seeds=3",)
    unjudged: frozenset[str] = frozenset()
    profile: str = "cpu"


class Break(NamedTuple):
    """``change(variant, observations)`` breaks the law of one member of a case; ``fails`` are the rows that see it."""

    case: str
    change: Callable[[str, dict[str, np.ndarray]], None]
    fails: frozenset[str]


class Rule(NamedTuple):
    """Fields of a variant that a config may not have, and the line that says so."""

    config: str
    fields: Mapping[str, Any]
    line: str


def config_of(name, *words, profile="cpu", **fields):
    """A config with ``fields`` set to other values, then overridden by ``words``, FIELD=VALUE each."""
    given = [f"{field}={value}" for field, value in fields.items()]
    with warnings.catch_warnings():
        # Variants with a value of their own keep it, and the user is warned; a made-up case is no user.
        warnings.filterwarnings("ignore", message=".* is not for variants with a value of their own")
        return load(f"{CONFIGS / name}.py:{profile}", [f"--config.{word}" for word in (*given, *words)])


def experiment_of(config):
    """The experiment that a config names."""
    return load_experiment(config.experiment)


def cases_of(experiment):
    """The module of made-up cases of an experiment, tests/experiments/laws/.../cases.py."""
    return importlib.import_module(f"{experiment}.cases")


def results_of(lawful, config, change=unchanged):
    """``lawful(config)`` gives the observations of a variant, members first; ``change(name, seen)`` breaks its law."""
    tree = {}
    for name, own in expand(config):
        seen = lawful(own)
        change(name, seen)
        tree[name] = assemble(name, own, observation_times(own), [[seen]], experiment_of(own).variables)
    return xr.DataTree.from_dict(tree)


def runs_of(lawful, config, change=unchanged):
    """The runs of made-up results."""
    return runs(results_of(lawful, config, change))


def verdict(lawful, config, change=unchanged):
    """The claims table of made-up results, by id."""
    rows = judged(experiment_of(config).laws, runs_of(lawful, config, change))
    return {row.id: row for row in rows}


def images_of(size, shape, seed):
    """Random images, ten classes in turn."""
    rng = np.random.default_rng(seed)
    return Images(rng.integers(0, 256, (size, *shape), np.uint8), np.tile(np.arange(10, dtype=np.uint8), size // 10))


def assert_same(found, train, test):
    """Image data that are these, bit for bit."""
    for part, wanted in ((found.train, train), (found.test, test)):
        np.testing.assert_array_equal(part.images, wanted.images)
        np.testing.assert_array_equal(part.labels, wanted.labels)


def curves_of(figure):
    """(colour, style, label) of each curve with a label by its axes; no two of one axes alike, one look a label."""
    found = {
        id(axes): [(line.get_color(), repr(line._dash_pattern), line.get_label()) for line in axes.lines]
        for axes in figure.axes
    }
    named = {axes: [line for line in lines if not line[2].startswith("_")] for axes, lines in found.items()}
    for lines in named.values():
        assert len({line[:2] for line in lines}) == len(lines)
    every = {line for lines in named.values() for line in lines}
    assert len({label for *_, label in every}) == len(every)
    return [line for lines in named.values() for line in lines]
