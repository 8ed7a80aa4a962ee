"""The landscape of linear networks and the limits of their gradient flow (Eftekhari 2020, Sections 2 and 3)."""

from experiments.laws.induced_flow.landscape.claims import LAWS, SUMMARY
from experiments.laws.induced_flow.landscape.figures import CAPTIONS, figures
from experiments.laws.induced_flow.landscape.system import FIELDS, VARIABLES, check, dynamics
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
