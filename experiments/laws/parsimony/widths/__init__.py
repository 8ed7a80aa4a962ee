"""The law of parsimony for layers of any widths (Yaras et al. 2023, Assumption 1 relaxed)."""

from experiments.laws.parsimony.widths.claims import LAWS, SUMMARY
from experiments.laws.parsimony.widths.figures import CAPTIONS, figures
from experiments.laws.parsimony.widths.system import FIELDS, VARIABLES, check, dynamics
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
)
