"""Declared fields: what a config may say, what it must, and that it says nothing else."""

import pytest
from ml_collections import config_dict

from experiments.runner.checks import collect
from experiments.runner.schema import check_fields, choice, flag, integer, number, rows, text, values

FIELDS = {
    "net.depth": integer("layers", at_least=2),
    "net.scale": number("scale of W(0)", sweepable=True, above=0.0, below=2.0),
    "net.init": choice("distribution of W(0)", "orthogonal", "normal"),
    "data.whiten": flag("whether X is whitened"),
    "data.folder": text("where the images lie"),
    "data.widths": values("widths", items="integers"),
    "bound.failure": number("probability", when=lambda config: config.net.init == "normal", above=0.0),
}


def config_of(**fields):
    plain = {
        "experiment": "collapse",
        "name": "",
        "seed": 0,
        "num_seeds": 3,
        "precision": "float64",
        "net": {"depth": 3, "scale": 1.0, "init": "orthogonal"},
        "opt": {"num_steps": 10},
        "data": {"whiten": True, "folder": "", "widths": (1, 2)},
        "observe": {"num_times": 5, "spacing": "even"},
        "sweep": {},
        "variants": ({},),
        "run": {"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    }
    for path, value in fields.items():
        *groups, leaf = path.split("__")
        node = plain
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return config_dict.create(**plain)


def problems(**fields):
    return collect(config_of(**fields), lambda checks: check_fields(checks, FIELDS))


def test_a_config_that_says_what_is_declared_passes():
    assert problems() == []
    assert problems(sweep__net__scale=(0.5, 1.0)) == []


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"net__depth": 1}, "net.depth = 1: must be an integer >= 2"),
        ({"net__scale": 2.0}, "net.scale = 2.0: must be a finite number > 0.0 and < 2.0"),
        ({"net__init": "he"}, "net.init = 'he': must be one of 'orthogonal', 'normal'"),
        ({"data__whiten": 1.5}, "data.whiten = 1.5: must be one of False, True"),
        ({"data__folder": 3}, "data.folder = 3: must be a string"),
        ({"data__widths": 3}, "data.widths = 3: must be a tuple"),
        ({"net__dept": 3}, "net.dept = 3: is read by nothing in collapse; did you mean net.depth?"),
        ({"net__init": "normal"}, "bound.failure: is missing, must be a finite number > 0.0"),
        (
            {"sweep__net__depth": (2, 3)},
            "sweep.net.depth = (2, 3): cannot be swept; use variants (what can be swept: net.scale)",
        ),
        ({"sweep__net__scale": (0.5, 3.0)}, "sweep.net.scale = 3.0: must be a finite number > 0.0 and < 2.0"),
    ],
)
def test_every_other_config_has_its_line(fields, line):
    assert problems(**fields) == [line]


def test_a_field_that_is_not_read_may_be_there():
    assert problems(bound__failure=0.1) == []


def test_what_is_shown_of_a_field_is_its_value_range_unit_and_meaning():
    shown = {path: rest for path, *rest in rows(config_of(sweep__net__scale=(0.5, 1.0)), FIELDS)}
    assert shown["net.depth"] == ["3", "integer >= 2", "1", "layers"]
    assert shown["net.scale"] == [
        "sweep (0.5, 1.0)",
        "number > 0.0 and < 2.0, may be swept",
        "1",
        "scale of W(0)",
    ]
    assert shown["run.checkpoint_seconds"][2] == "s"
    assert "bound.failure" not in shown
