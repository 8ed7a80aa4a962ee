"""Overrides of fields that variants set: they select or change the variants, and names follow the fields."""

import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.runner import checks, fields, settings
from experiments.runner.command import EXAMPLES, command_line
from experiments.runner.launch import validate

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
FLAGSHIP, OPTIMIZERS = "dln_parsimony", "mlp_optimizers"


def config_of(name, *words, profile="cpu"):
    """The config under these overrides, and the problems that a user sees."""
    config = settings.read(f"{ROOT}/configs/{name}.py:{profile}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problems = settings.override(config, words)
        return config, problems + checks.collect(config, validate)


def names(config):
    return [variant.name for variant in settings.expand(config)]


@pytest.mark.parametrize(
    ("name", "words", "wanted"),
    [
        (FLAGSHIP, ["net.depth=4"], ["case1_L4", "case2_L4"]),
        (FLAGSHIP, ["data.source=gaussian"], ["case2_L2", "case2_L3", "case2_L4"]),
        (FLAGSHIP, ["net.depth=4", "data.source=gaussian"], ["case2_L4"]),
        (FLAGSHIP, ["data.source=gaussian", "net.depth=4"], ["case2_L4"]),
        (
            FLAGSHIP,
            ["precision=float32"],
            [*(f"case{case}_L{depth}" for case in (1, 2) for depth in (2, 3, 4)), "digits_L3"],
        ),
        (FLAGSHIP, ["net.width=61"], ["digits_L3"]),
        (FLAGSHIP, ["name=case2_L3"], ["case2_L3"]),
        (FLAGSHIP, ["net.depth=4", "variants=({'net.depth': 2}, {'net.depth': 4})"], ["depth=4"]),
        ("dln_momentum", ["net.depth=4"], ["depth=4"]),
        ("dln_momentum", ["net.depth=3"], ["momentum_L3"]),
        ("dln_momentum", ["opt.num_steps=3"], ["momentum_L3"]),
        (OPTIMIZERS, ["opt.method=adam"], ["elu_adam", "gelu_adam", "digits_raw", "digits_whitened"]),
        ("mlp_spectra", ["net.activation=tanh"], ["activation=tanh"]),
    ],
)
def test_which_variants_run_and_what_they_are_called(name, words, wanted):
    config, problems = config_of(name, *(f"--config.{word}" for word in words))
    assert problems == []
    assert names(config) == wanted


def test_a_value_that_no_variant_has_is_set_in_all_and_each_run_is_made_once():
    config, problems = config_of(FLAGSHIP, "--config.net.depth=5")
    assert problems == []
    assert [v.config.net.depth for v in settings.expand(config)] == [5, 5, 5, 5]  # of eight, three by three the same
    shown = [(v.config.data.source, v.config.precision) for v in settings.expand(config)]
    assert shown == [("low_rank", "float64"), ("gaussian", "float64"), ("low_rank", "float32"), ("digits", "float64")]
    assert names(config)[:2] == ["depth=5,source=low_rank", "depth=5,source=gaussian"]


def test_variants_that_keep_their_own_value_are_reported():
    config = settings.read(str(ROOT / "configs" / f"{FLAGSHIP}.py"))
    with pytest.warns(UserWarning, match=r"net.width = 40 is not for variants .* of their own: digits_L3 61$"):
        assert settings.override(config, ["--config.net.width=40"]) == []
    assert {v.config.net.width for v in settings.expand(config)} == {40, 61}
    assert names(config) == names(settings.read(str(ROOT / "configs" / f"{FLAGSHIP}.py")))


@pytest.mark.parametrize(
    ("name", "word", "wanted", "reported"),
    [
        ("inverse_decay", "opt.weight_decay=0.01", ["common", "opt.weight_decay=0.01"], "common (0.0, 0.003, 0.01)"),
        ("collapse_theorem", "net.scale=0.5", ["net.scale=0.5", "L3_beyond", "method=flow"], "L3_beyond (0.25,)"),
        ("completion_gamma", "opt.discrepancy=0.1", ["full", "compressed"], "compressed (0.01, 0.0, 1.0)"),
        ("jumps_theory", "data.offdiagonal=0.25", ["region_L3"], ""),
    ],
)
def test_variants_that_sweep_a_field_do_not_take_its_value_and_are_reported(name, word, wanted, reported):
    config = settings.read(f"{ROOT}/configs/{name}.py:smoke")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert settings.override(config, [f"--config.{word}"]) == []
    assert [str(each.message).rpartition("own: ")[2] for each in caught] == [reported] * bool(reported)
    assert all(part in name for part, name in zip(wanted, names(config), strict=True))


@pytest.mark.parametrize("name", [".", ".."])
def test_no_variant_is_called_as_a_folder_is(name):
    _, problems = config_of(FLAGSHIP, f"--config.variants=({{'name': {name!r}}},)")
    assert any(f"must not be called {name}" in line for line in problems)


def test_how_long_a_run_is_selects_nothing():
    config = settings.read(str(ROOT / "configs" / f"{FLAGSHIP}.py"))
    with pytest.warns(UserWarning, match="digits_L3 200"):
        settings.override(config, [f"--config.opt.num_steps={config.opt.num_steps}"])
    assert len(config.variants) == 8


def test_variants_that_were_the_same_before_are_still_reported():
    twice = "--config.variants=({'net.depth': 2}, {'net.depth': 2, 'num_seeds': 9})"
    _, problems = config_of(FLAGSHIP, twice, "--config.net.depth=3")
    assert any("are the same run" in line for line in problems)


# The help -------------------------------------------------------------------------------------------------


def test_the_examples_of_the_help_run_on_the_flagship():
    (words,) = [shlex.split(" ".join(EXAMPLES))]
    for word in words:
        assert config_of(FLAGSHIP, word)[1] == []
    assert config_of(FLAGSHIP, *words)[1] == []
    reported = " ".join(command_line().format_help().split())
    assert all(example in reported for example in EXAMPLES[:2])


@pytest.mark.parametrize("name", ["dln_momentum", "collapse_depth", "inverse_depth", "mlp_deep", "induced_flow"])
def test_the_examples_of_the_help_run_or_are_refused_in_a_line(name):
    for word in shlex.split(" ".join(EXAMPLES)):
        check(name, word)


# Every config ---------------------------------------------------------------------------------------------


def other_value(value):
    """A value of the same type that no config has."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else 0.987 * value + 0.0123
    return value + value[-1:] if isinstance(value, tuple) else "sundry"


def overrides(name) -> Iterator[tuple[str, object]]:
    """Every field that a variant sets, with the last value that it has there and one that it has nowhere."""
    config = settings.read(f"{ROOT}/configs/{name}.py:smoke")
    found = {}
    for variant in config.variants:
        for path, value in variant.items():
            found.setdefault(path, {})[repr(value)] = value
    for path, values in found.items():
        value = list(values.values())[-1]
        yield from ((path, value), (path, other_value(value)))


def check(name, word, depth=0):
    """A valid config with names of their own, or lines whose every suggestion is of use in turn."""
    path, _, text = word.removeprefix("--config.").partition("=")
    config, problems = config_of(name, word, profile="smoke")
    if not problems:
        check_variants(config, path, fields.literal(text))
    for problem in problems:
        assert "\n" not in problem
        assert depth < 2
        for suggestion in re.findall(r"set (--config\.\S+)", problem):
            check(name, suggestion, depth + 1)
        for options in re.findall(rf"^{re.escape(path)} = .*: must be one of (.*)$", problem):
            for option in options.split(", "):
                again = config_of(name, f"--config.{path}={option}", profile="smoke")[1]
                assert not any(line.startswith(f"{path} =") and "one of" in line for line in again)
        for listed in re.findall(r"the variants are (.*)$", problem):
            config, again = config_of(name, f"--config.name={listed.split(', ')[0]}", profile="smoke")
            assert not any("has this name" in line for line in again)
            assert len(config.variants) == 1


def check_variants(config, path, given):
    """Every variant has the value, or one of its own; the variants that run have fitting, different names."""
    found = settings.expand(config)
    assert len({v.name for v in found}) == len(found)
    assert not settings.alike(config)
    if path in ("name", "variants"):
        return
    kept = [v for v in found if fields.leaves(v.config).get(path) not in (given, (given,))]
    assert all(path in variant for v in kept for variant in v.config.variants)
    assert len(kept) < len(found)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_field_that_variants_set_can_be_overridden_or_says_why_not(name):
    for path, value in overrides(name):
        check(name, f"--config.{path}={value!r}")
