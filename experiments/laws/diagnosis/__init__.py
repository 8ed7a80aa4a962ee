"""Whether a diagnosis after a tenth of the training tells what training at rank r will lose in accuracy."""

from experiments.laws.diagnosis.claims import COMPARISONS, LAWS, SUMMARY
from experiments.laws.diagnosis.figures import CAPTIONS, figures
from experiments.laws.diagnosis.system import FIELDS, VARIABLES, check, dynamics, shared, sources
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
    shared=shared,
    sources=sources,
)
