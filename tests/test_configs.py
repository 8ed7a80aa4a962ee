"""Every config runs a law of the house, whose claims have ids of their own, and says what it is and how long it takes.

Every field has its range, unit and meaning.
"""

import ast
import re
from collections import Counter

import pytest
from source_tree import DOORS, ROOT, relative, sources

from experiments.runner import catalog, fields, schema, settings
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


LISTED = {entry.name: entry for entry in catalog.entries(ROOT)}
UNITS = {"1", "-", "step", "s", "pixel", "degree"}
USAGE = re.compile(r"^    python -m experiments\.main --config=configs/(\w+)\.py\[:(\S+)\]$", re.MULTILINE)


def description_faults(name, docstring, entry, profiles):
    """What is missing in the fixed form of a config's docstring (experiments/runner/catalog.py)."""
    faults = []
    if catalog.NONE in (entry.paper, entry.figure):
        faults.append('the first line is not "Title: FIGURE of AUTHORS YEAR[, arXiv:ID]."')
    if USAGE.findall(docstring) != [(name, "|".join(profiles))]:
        faults.append("the command does not name the config and its profiles")
    if list(entry.times) != profiles:
        faults.append(f"the profiles that are listed are {', '.join(entry.times)}")
    if unknown := [profile for profile, time in entry.times.items() if time == catalog.UNKNOWN]:
        faults.append(f"neither a published run nor a line 'Time on two cores: ...' has a time of {', '.join(unknown)}")
    return faults


@pytest.mark.parametrize("path", sources("configs"), ids=relative)
def test_a_config_says_what_it_is_and_how_long_it_takes(path):
    names = {}
    exec(compile(path.read_bytes(), str(path), "exec"), names)
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert description_faults(path.stem, docstring, LISTED[path.stem], list(names["PROFILES"])) == []


def test_a_docstring_of_another_form_is_seen():
    entry = catalog.Entry("law", "Rates", times={"smoke": "about 3 s", "cpu": catalog.UNKNOWN})
    usage = "\n    python -m experiments.main --config=configs/law.py[:smoke|cpu]\n"
    assert len(description_faults("other", usage, entry, ["smoke", "cpu", "paper"])) == 4
    good = catalog.Entry("law", "Rates", "Xu et al. 2026", "Figure 1", {"smoke": "about 3 s", "cpu": "4 s"})
    assert description_faults("law", usage, good, ["smoke", "cpu"]) == []


@pytest.mark.parametrize("path", sources("configs"), ids=relative)
def test_every_field_of_every_profile_is_shown_with_what_it_means(path):
    for profile in LISTED[path.stem].times:
        config = settings.load(f"{path}:{profile}")
        shown = {row[0]: row for row in schema.rows(config, load(config.experiment).fields)}
        assert {name for name in fields.leaves(config) if not name.startswith("sweep.")} == shown.keys()
        for name, _, allowed, unit, meaning in shown.values():
            assert allowed not in ("", "tuple"), name
            assert unit in UNITS, name
            assert len(meaning) > 5, name


def test_an_id_of_two_claims_is_seen():
    assert repeated(["F1.rate", "F2.rate", "F1.rate", "F2.line"]) == ["F1.rate"]


def test_a_name_that_is_no_law_is_seen():
    with pytest.raises(ModuleNotFoundError, match=r"experiments\.laws\.no_law"):
        load("no_law")
    with pytest.raises(AttributeError, match="EXPERIMENT"):
        load("inverse_problems")
