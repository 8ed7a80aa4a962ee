"""How both errors decay under gradient descent (Laus et al. 2025, Figures 2 to 4)."""

from experiments.laws.inverse_problems.decay.claims import LAWS, SUMMARY
from experiments.laws.inverse_problems.decay.figures import CAPTIONS, figures
from experiments.laws.inverse_problems.decay.system import FIELDS, VARIABLES, check, dynamics
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
