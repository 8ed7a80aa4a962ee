"""The small equivalent network (Yaras et al. 2023, Figure 1): a d x d network and its 2r x 2r equivalent."""

from experiments.laws.parsimony.compression.claims import LAWS, SUMMARY
from experiments.laws.parsimony.compression.figures import CAPTIONS, figures
from experiments.laws.parsimony.compression.system import FIELDS, VARIABLES, check, dynamics
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
