"""Every config runs a law of the house, whose claims have ids of their own."""

from collections import Counter

import pytest
from source_tree import DOORS, relative, sources

from experiments.runner import settings
from experiments.runner.experiment import Experiment, load


def repeated(ids):
    return sorted(id for id, count in Counter(ids).items() if count > 1)


@pytest.mark.parametrize("path", sources("configs"), ids=relative)
def test_a_config_runs_a_law_whose_claims_have_ids_of_their_own(path):
    name = settings.load(f"{path}:smoke").experiment
    assert f"experiments.laws.{name}" in DOORS
    experiment = load(name)
    assert isinstance(experiment, Experiment)
    assert experiment.laws
    assert not repeated(law.id for law in experiment.laws)


def test_an_id_of_two_claims_is_seen():
    assert repeated(["F1.rate", "F2.rate", "F1.rate", "F2.line"]) == ["F1.rate"]


def test_a_name_that_is_no_law_is_seen():
    with pytest.raises(ModuleNotFoundError, match=r"experiments\.laws\.no_law"):
        load("no_law")
    with pytest.raises(AttributeError, match="EXPERIMENT"):
        load("inverse_problems")
