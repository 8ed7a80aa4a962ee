"""Recovery from noisy measurements with and without weight decay (Laus et al. 2025, Figures 1a and 1b)."""

from experiments.laws.inverse_problems.robustness.claims import COMPARISONS, LAWS, SUMMARY
from experiments.laws.inverse_problems.robustness.figures import CAPTIONS, figures
from experiments.laws.inverse_problems.robustness.system import FIELDS, VARIABLES, check, dynamics, shared
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
    shared=shared,
)
