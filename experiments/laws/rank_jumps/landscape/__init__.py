"""The critical points and regions that decide which way ranks jump (Wang and Jacot 2024)."""

from experiments.laws.rank_jumps.landscape.claims import LAWS, SUMMARY
from experiments.laws.rank_jumps.landscape.figures import CAPTIONS, figures
from experiments.laws.rank_jumps.landscape.system import FIELDS, VARIABLES, dynamics
from experiments.runner.experiment import Experiment

EXPERIMENT = Experiment(
    dynamics=dynamics,
    variables=VARIABLES,
    fields=FIELDS,
    laws=LAWS,
    figures=figures,
    captions=CAPTIONS,
    summary=SUMMARY,
)
