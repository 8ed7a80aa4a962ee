"""Every law of smooth MLPs names the number of a control, or says why there is none, and the table has that number."""

from pathlib import Path

import pytest
from synthetic import cases_of, config_of, runs_of

from experiments.runner.experiment import load
from experiments.runner.laws import judged
from experiments.runner.summary import summarized

HERE = Path(__file__).parent
EXPERIMENTS = sorted(f"smooth_mlp.{file.parent.name}" for file in HERE.glob("*/cases.py"))
CASES = [(experiment, name) for experiment in EXPERIMENTS for name in cases_of(experiment).CASES]


def family(id):
    return id.partition("[")[0]


def laws_of(experiment):
    return [law for law in load(experiment).laws if law.kind == "law"]


def is_judged(law, run):
    """Whether the law speaks of a run."""
    of = law.of if isinstance(law.of, tuple) else (law.of or law.source.of,)
    return law.source.of(run) and any(fits(run) for fits in of)


def with_numbers(summary, heading):
    """The runs that have a number in a column, by label."""
    return {run["run"] for run in summary["runs"] if run["columns"].get(heading, {}).get("numbers")}


def is_there(law, found, rows, summary):
    """Whether the control stands in the table of these runs; a column needs a run that the law does not judge."""
    kind, name, _ = law.control
    if kind == "row":
        return name in rows or name in {family(id) for id in rows}
    if any(row == name or row.startswith(f"{name}: ") for row in summary["comparisons"]):
        return True
    others = {run.label for run in found if not is_judged(law, run)}
    return bool(with_numbers(summary, name) & others) or ("random" in name and bool(with_numbers(summary, name)))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_law_names_its_control(experiment):
    assert [law.id for law in laws_of(experiment) if law.control is None] == []
    kinds = {"row": 1, "summary": 1, "none": 25}
    assert [law.id for law in laws_of(experiment) if len(law.control.name) < kinds[law.control.kind]] == []


@pytest.mark.parametrize(("experiment", "case"), CASES)
def test_the_table_has_the_controls_that_its_laws_name(experiment, case):
    about, given = load(experiment), cases_of(experiment).CASES[case]
    found = runs_of(cases_of(experiment).lawful, config_of(given.config, *given.words, profile=given.profile))
    rows = {row.id: row for row in judged(about.laws, found)}
    summary = summarized(found, about.summary, about.comparisons)
    here = {family(id) for id in rows}
    ours = [law for law in laws_of(experiment) if law.id in here and law.control.kind != "none"]
    assert here & {law.id for law in laws_of(experiment)}
    assert [law.id for law in ours if not is_there(law, found, rows, summary)] == []
    for id, row in rows.items():
        (law,) = (law for law in about.laws if law.id == family(id))
        assert law.control is None or row.statement.endswith(f"; {law.control.words(id)}")
        # The row that is the control of the others has another one.
        assert not row.statement.endswith(f"control: row {id}")
        assert law.control is None or law.control.name != id or law.control.back in rows
