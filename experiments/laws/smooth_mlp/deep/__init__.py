"""Smooth MLPs of four layers (Xu et al. 2026, Sections 2.1 and 4): low-rank change in every layer."""

from experiments.laws.smooth_mlp.deep.claims import COMPARISONS, LAWS, SUMMARY
from experiments.laws.smooth_mlp.deep.figures import CAPTIONS, figures
from experiments.laws.smooth_mlp.deep.system import FIELDS, VARIABLES, check, dynamics, shared
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
