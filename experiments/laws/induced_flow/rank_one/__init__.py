"""The induced flow from a single neuron (Eftekhari 2020, Section 4): Figure 1 and Theorem 20."""

from experiments.laws.induced_flow.rank_one.claims import LAWS, SUMMARY
from experiments.laws.induced_flow.rank_one.figures import CAPTIONS, figures
from experiments.laws.induced_flow.rank_one.system import FIELDS, VARIABLES, check, dynamics
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
