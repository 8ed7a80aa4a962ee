"""Formulas of the pages become MathML, and what cannot is refused with its name."""

import xml.etree.ElementTree as ET

import pytest
from extension.formulas import drawn

SPACE = "{http://www.w3.org/1998/Math/MathML}"


def test_a_fraction_without_braces_and_an_accent_below_an_index():
    tree = ET.fromstring(drawn(r"\tfrac12 \tilde W_l", "inline"))
    (fraction,) = tree.iter(f"{SPACE}mfrac")
    assert ["".join(part.itertext()) for part in fraction] == ["1", "2"]
    (indexed,) = tree.iter(f"{SPACE}msub")
    accented, index = indexed
    assert accented.tag == f"{SPACE}mover"
    assert "".join(index.itertext()) == "l"


@pytest.mark.parametrize("display", ["inline", "block"])
def test_the_form_is_the_one_that_is_asked_for(display):
    assert ET.fromstring(drawn("a < b", display)).get("display") == display


@pytest.mark.parametrize(("text", "why"), [(r"\nosuch{a}", "nosuch"), ("a_b_c", "DoubleSubscripts")])
def test_what_cannot_be_drawn_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        drawn(text, "inline")
