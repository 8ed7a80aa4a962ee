"""Deep matrix completion (Yaras et al. 2023, Section 4.1): what depth, width and compression do."""

from experiments.laws.parsimony.completion.claims import COMPARISONS, LAWS, SUMMARY
from experiments.laws.parsimony.completion.figures import CAPTIONS, figures
from experiments.laws.parsimony.completion.system import FIELDS, VARIABLES, check, dynamics
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
