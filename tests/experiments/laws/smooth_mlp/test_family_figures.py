"""Curves of a family: each has a look of its own, and a colour of its own where there are enough."""

import pytest

from experiments.laws.smooth_mlp.family_figures import FORMS, looks
from experiments.runner import plots

# The forms of Figure 7: five curves, and six colours.
FIGURE_7 = ("full", "s_big", "s_big_1000", "s_big_batch", "random")
MANY = (*FORMS, *(f"s_big_{count}" for count in range(100, 1900, 100)))


@pytest.mark.parametrize("forms", [FIGURE_7, FIGURE_7[::-1], MANY, MANY[:7], ("s_big_7", "random_9")])
def test_no_two_forms_look_alike(forms):
    found = looks(forms)
    assert found.keys() == set(forms)
    assert len({(colour, style) for colour, style, _ in found.values()}) == len(forms)
    assert len({label for *_, label in found.values()}) == len(forms)
    assert len({colour for colour, *_ in found.values()}) == min(len(forms), len(plots.COLOURS))
