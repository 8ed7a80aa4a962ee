"""The law of parsimony (Yaras et al. 2023, Theorem 1): a deep linear network and the law that predicts it."""

from experiments.laws.parsimony.theorem.claims import LAWS, SUMMARY
from experiments.laws.parsimony.theorem.figures import CAPTIONS, figures
from experiments.laws.parsimony.theorem.system import FIELDS, VARIABLES, check, dynamics, shared, sources
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
    sources=sources,
)
