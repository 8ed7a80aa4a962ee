"""Numbers that fit and those that do not, as every kind of number that callers have."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.checks import is_concrete, number_fault, refuse, whole_fault

KINDS = [float, np.float32, np.float64, np.asarray, jnp.asarray]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "limits", "words"),
    [
        (0.5, {"above": 0.0}, ""),
        (0.0, {"least": 0.0}, ""),
        (-3.0, {}, ""),
        (0.0, {"above": 0.0}, "eps must be finite and above 0, got "),
        (-1.0, {"least": 0.0}, "eps must be finite and at least 0, got "),
        (math.nan, {"least": 0.0}, "eps must be finite and at least 0, got nan"),
        (math.inf, {"above": 0.0}, "eps must be finite and above 0, got inf"),
        (-math.inf, {}, "eps must be finite, got -inf"),
    ],
)
def test_a_number_fits_or_the_words_say_why_not(kind, value, limits, words):
    found = number_fault("eps", kind(value), **limits)
    assert found.startswith(words)
    assert bool(found) == bool(words)


@pytest.mark.parametrize("value", [np.ones(1), jnp.ones(3), [1.0, 2.0]])
def test_several_numbers_are_not_one(value):
    assert number_fault("eps", value) == f"eps must be one number, got an array of shape {np.shape(value)}"


@pytest.mark.parametrize("value", ["large", None, 1j])
def test_what_is_no_number_is_said(value):
    assert number_fault("eps", value) == f"eps must be finite, got {value}"


def test_what_is_traced_passes_but_for_its_shape():
    said = []

    def f(x):
        said.extend([number_fault("eps", x[0], above=0.0), number_fault("eps", x), is_concrete((1.0, x))])
        return x

    jax.jit(f)(-jnp.ones(2))
    assert said == ["", "eps must be one number, got an array of shape (2,)", False]
    assert is_concrete((1.0, jnp.ones(2)))


@pytest.mark.parametrize(
    ("value", "fits"), [(2, True), (np.int64(3), True), (1, False), (2.0, False), (True, False), ("2", False)]
)
def test_a_whole_number_is_one_by_its_type(value, fits):
    words = f"depth must be a whole number of at least 2, got {value}"
    assert whole_fault("depth", value, least=2) == ("" if fits else words)


def test_all_faults_are_told_at_once():
    refuse("", "")
    with pytest.raises(ValueError, match=r"^one; two$"):
        refuse("one", "", "two")
