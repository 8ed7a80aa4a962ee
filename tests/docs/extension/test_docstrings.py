"""Docstrings are shown as they are written: formulas are no markup, and sections are lists."""

import inspect

import pytest
from docutils.core import publish_doctree
from docutils.nodes import bullet_list, field_name, list_item, literal, literal_block, paragraph
from extension.docstrings import converted

DOCSTRING = """The norm ||U^T W||_F of a * b, with `name` and ``W_l^T``s.

A. Person (2023), eq. 2: sums of x_ and |y|,
over two lines; `two
words`.
    W_l = U_l *V_l

    rho = 0
After the formula::

    >>> 1 + 1

- one: ||x||_2
  goes on
- two

Args:
    step_size: Of *all* layers,
        as |eta|.
    *others: What else.

Returns:
    The run: ``config``, a_b.

Raises:
    ValueError: Never.
"""


@pytest.fixture(scope="module")
def shown():
    lines = converted(inspect.cleandoc(DOCSTRING).splitlines())
    # A fault in the markup raises.
    return publish_doctree("\n".join(lines), settings_overrides={"halt_level": 2, "report_level": 2})


def texts(tree, kind):
    return [" ".join(node.astext().split()) for node in tree.findall(kind)]


def test_formulas_are_text_and_backquotes_are_code(shown):
    said = texts(shown, paragraph)
    assert said[0] == "The norm ||U^T W||_F of a * b, with name and W_l^Ts."
    assert said[1] == "A. Person (2023), eq. 2: sums of x_ and |y|, over two lines; two words."
    assert texts(shown, literal)[:3] == ["name", "W_l^T", "two words"]


def test_what_is_indented_keeps_its_lines(shown):
    blocks = [node.astext() for node in shown.findall(literal_block)]
    assert blocks == ["W_l = U_l *V_l\n\nrho = 0", ">>> 1 + 1"]
    assert "After the formula:" in texts(shown, paragraph)


def test_bullets_and_sections_are_lists(shown):
    assert texts(shown, field_name) == ["Arguments", "Returns", "Raises"]
    assert texts(shown, list_item) == [
        "one: ||x||_2 goes on",
        "two",
        "step_size: Of *all* layers, as |eta|.",
        "*others: What else.",
        "ValueError: Never.",
    ]
    assert "The run: config, a_b." in texts(shown, paragraph)
    assert len(list(shown.findall(bullet_list))) >= 3
