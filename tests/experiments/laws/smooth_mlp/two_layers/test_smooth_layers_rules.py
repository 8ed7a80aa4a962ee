"""The rules of the configs of two-layer smooth MLPs."""

import functools as ft

import pytest
import synthetic

from experiments.laws.smooth_mlp.two_layers import system as two_layers
from experiments.runner.checks import collect
from experiments.runner.run import observation_times

NAMES = ("mlp_theorem", "mlp_gradient_decay", "mlp_gradient_tail")

config_of = ft.partial(synthetic.config_of, num_seeds=3)

RULES = {
    "precision": ({"precision": "float32"}, "precision = 'float32': must be one of 'float64'"),
    "scale": ({"net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
    "activation": (
        {"net.activation": "rrelu"},
        "net.activation = 'rrelu': must be one of 'elu', 'gelu', 'silu', 'tanh', 'relu'",
    ),
    "classes": (
        {"data.num_classes": 32, "data.num_samples": 320},
        "data.dimension = 64: must exceed 2 * data.num_classes = 64, or no S_small is left",
    ),
    "balance": ({"data.num_samples": 1001}, "data.num_samples = 1001: must be a multiple of data.num_classes = 4"),
    "samples": ({"data.num_samples": 60}, "data.num_samples = 60: must be at least data.dimension = 64 to be whitened"),
    "width": ({"net.width": 63}, "net.width = 63: must be at least data.dimension = 64"),
    "normal": (
        {"net.init": "normal", "net.activation": "relu", "data.num_samples": 64},
        "net.init = 'normal': is Proposition B.1's, for study = 'tail' alone",
    ),
}
TAIL_RULES = {
    "failure": ({"bound.failure": 1.0}, "bound.failure = 1.0: must be a finite number > 0.0 and < 1.0"),
    "smooth": (
        {"net.init": "normal", "data.num_samples": 64},
        "net.activation = 'gelu': must be 'relu' for Proposition B.1",
    ),
    "square": (
        {"net.init": "normal", "net.activation": "relu"},
        "data.num_samples = 1000: must be 64 = data.dimension for Proposition B.1",
    ),
}
EVERY_RULE = {name: ("mlp_theorem", *rule) for name, rule in RULES.items()}
EVERY_RULE |= {name: ("mlp_gradient_tail", *rule) for name, rule in TAIL_RULES.items()}


@pytest.mark.parametrize(("name", "fields", "line"), EVERY_RULE.values(), ids=EVERY_RULE)
def test_every_rule_has_its_line(name, fields, line):
    assert collect(config_of(name, f"variants=({fields!r},)"), two_layers.validate) == [line]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    assert collect(config_of(name, profile=profile), two_layers.validate) == []


@pytest.mark.parametrize("name", NAMES[:2])
def test_every_step_of_a_training_run_is_seen(name):
    for profile in ("smoke", "cpu", "paper"):
        config = config_of(name, profile=profile)
        assert observation_times(config).tolist() == list(range(config.opt.num_steps + 1))
