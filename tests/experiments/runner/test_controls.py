"""The sentence of a law ends with its control."""

import numpy as np
import pytest
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner.controls import in_row, in_summary, uncontrolled
from experiments.runner.laws import Source, judged, measure
from experiments.runner.runs import Run

SOURCE = Source(paper="a paper", figure="Fig. 1")
SMALL = measure(lambda run: run.last("loss")) < 4.0


def run_of(depth):
    data = xr.Dataset(
        {"loss": (("seed", "step"), np.ones((1, 1))), "diverged_at": ("seed", [-1])}, {"seed": [0], "step": [0]}
    )
    return Run("a", ConfigDict({"net": {"depth": depth}, "sweep": {}}), data)


@pytest.mark.parametrize(
    ("control", "sentences"),
    [
        (in_row("F1.random"), ["small at 2; control: row F1.random", "small at 3; control: row F1.random"]),
        (in_summary("loss of {}"), [f'small at {L}; control: "loss of {{}}" in the summary' for L in (2, 3)]),
        (uncontrolled("it is one number"), [f"small at {L}; no control: it is one number" for L in (2, 3)]),
        (None, ["small at 2", "small at 3"]),
    ],
)
@pytest.mark.parametrize("says", ["small at {}", lambda found: f"small at {found[0].config.net.depth}"])
def test_a_sentence_ends_with_its_control(says, control, sentences):
    law = SOURCE.law("F1", says, SMALL, each="net.depth", control=control)
    assert [row.statement for row in judged([law], [run_of(2), run_of(3)])] == sentences
