"""The pictures of a run, with the captions of its experiment."""

from experiments.laws.parsimony.theorem.figures import CAPTIONS
from experiments.reporting import pictures, subject
from experiments.runner.checkout import SOURCE
from experiments.runs import load


def test_a_picture_has_the_caption_of_its_experiment_and_its_first_sentence_as_text():
    found = {one.name: one for one in pictures.read(load(SOURCE / "figures" / "dln_momentum"), subject.Subject())}
    assert set(found) == {"deviations", "layers_momentum_L3"}
    assert found["layers_momentum_L3"].caption == CAPTIONS["layers_*"]
    assert found["deviations"].alt.startswith("Strip plot with a row for each variant")
    assert found["deviations"].alt.endswith("on a log axis.")
