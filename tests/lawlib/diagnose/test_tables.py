"""Tables of text, in columns and in markdown."""

import numpy as np
import pytest

from lawlib.diagnose.tables import Table, exact, marked, percent, plain, short

TABLE = Table(["name", "value"], [["a", "12.5%"], ["longer", "-"]])


def test_columns_are_aligned():
    assert plain(TABLE) == "name    value\na       12.5%\nlonger      -"


def test_markdown_has_a_rule():
    assert marked(TABLE) == "| name | value |\n| --- | ---: |\n| a | 12.5% |\n| longer | - |"


@pytest.mark.parametrize(("share", "said"), [(0.1234, "12.3%"), (1.0, "100%"), (0.00012, "0.012%"), (np.nan, "-")])
def test_a_share_is_said_in_percent(share, said):
    assert percent(share) == said


@pytest.mark.parametrize(("number", "said"), [(0.083349, "0.0833"), (12345.0, "1.23e+04"), (np.nan, "-"), (0.0, "0")])
def test_a_number_has_three_digits(number, said):
    assert short(number) == said


def test_a_loss_has_six_digits():
    assert exact(2.30258509) == "2.30259"
    assert exact(np.nan) == "-"
