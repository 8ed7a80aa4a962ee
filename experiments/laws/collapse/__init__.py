"""Progressive collapse (Yaras et al. 2023, Section 4.2): each layer of a trained network separates the classes."""

from experiments.laws.collapse.claims import LAWS, SUMMARY
from experiments.laws.collapse.figures import CAPTIONS, figures
from experiments.laws.collapse.system import FIELDS, VARIABLES, check, dynamics, shared
from experiments.runner.experiment import Experiment

EXPERIMENT = Experiment(
    dynamics=dynamics,
    variables=VARIABLES,
    fields=FIELDS,
    laws=LAWS,
    figures=figures,
    captions=CAPTIONS,
    summary=SUMMARY,
    check=check,
    shared=shared,
)
