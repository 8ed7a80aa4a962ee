"""Weight decay in the law of parsimony (Yaras et al. 2023): idle directions vanish, and then the target."""

from experiments.laws.parsimony.decay.claims import COMPARISONS, LAWS, SUMMARY
from experiments.laws.parsimony.decay.figures import CAPTIONS, figures
from experiments.laws.parsimony.decay.system import FIELDS, VARIABLES, check, dynamics
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
