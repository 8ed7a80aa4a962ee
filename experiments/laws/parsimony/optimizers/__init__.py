"""The law of parsimony (Yaras et al. 2023) under other optimizers: which ones keep it, and which ones break it."""

from experiments.laws.parsimony.optimizers.claims import LAWS, SUMMARY
from experiments.laws.parsimony.optimizers.figures import CAPTIONS, figures
from experiments.laws.parsimony.optimizers.system import FIELDS, VARIABLES, check, dynamics, shared
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
