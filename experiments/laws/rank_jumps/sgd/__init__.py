"""Rank jumps as they happen, under SGD on single entries (Wang and Jacot 2024, Figures 1 to 4)."""

from experiments.laws.rank_jumps.sgd.claims import COMPARISONS, LAWS, SUMMARY
from experiments.laws.rank_jumps.sgd.figures import CAPTIONS, figures
from experiments.laws.rank_jumps.sgd.system import FIELDS, VARIABLES, check, dynamics
from experiments.runner.experiment import Experiment

EXPERIMENT = Experiment(
    dynamics=dynamics,
    variables=VARIABLES,
    fields=FIELDS,
    laws=LAWS,
    figures=figures,
    captions=CAPTIONS,
    summary=SUMMARY,
    comparisons=COMPARISONS,
    check=check,
)
