"""Images and results that tests make up: results as a run would write them, what the claims are tried on."""

import importlib
from pathlib import Path

import numpy as np
import xarray as xr

from experiments.data.idx import Images
from experiments.runner.results import assemble
from experiments.runner.run import observation_times
from experiments.runner.settings import expand, load

CONFIGS = Path(__file__).parents[2] / "configs"


def config_of(name, *words, profile="cpu", **fields):
    """A config with ``fields`` set to other values, then overridden by ``words``, FIELD=VALUE each."""
    given = [f"{field}={value}" for field, value in fields.items()]
    return load(f"{CONFIGS / name}.py:{profile}", [f"--config.{word}" for word in (*given, *words)])


def experiment_of(config):
    """The module of the experiment that a config names."""
    return importlib.import_module(f"experiments.laws.{config.experiment}.system")


def results_of(lawful, variables, config, change=lambda name, seen: None):
    """``lawful(config)`` gives the observations of a variant, members first; ``change(name, seen)`` breaks its law."""
    tree = {}
    for name, own in expand(config):
        seen = lawful(own)
        change(name, seen)
        tree[name] = assemble(name, own, observation_times(own), [[seen]], variables)
    return xr.DataTree.from_dict(tree)


def kinds(claims):
    """How many claims are laws, printed statements and reports."""
    return tuple(sum(claim.kind == kind for claim in claims) for kind in ("law", "printed", "report"))


def failing(claims):
    """The statements that fail."""
    return [claim.statement for claim in claims if claim.status == "fails"]


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
