"""Smooth MLPs of two layers, the case of the theorem (Xu et al. 2026, Section 3)."""

from experiments.laws.smooth_mlp.two_layers.claims import LAWS
from experiments.laws.smooth_mlp.two_layers.figures import CAPTIONS, figures
from experiments.laws.smooth_mlp.two_layers.summary import COMPARISONS, SUMMARY
from experiments.laws.smooth_mlp.two_layers.system import FIELDS, VARIABLES, check, dynamics
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
