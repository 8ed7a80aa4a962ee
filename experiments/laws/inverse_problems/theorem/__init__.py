"""Theorem A.2 and Corollary 2.6 (Laus et al. 2025), whose hypotheses on lambda and the isometry constant fail here."""

from experiments.laws.inverse_problems.theorem.claims import LAWS, SUMMARY
from experiments.laws.inverse_problems.theorem.figures import CAPTIONS, figures
from experiments.laws.inverse_problems.theorem.system import FIELDS, VARIABLES, check, dynamics
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
