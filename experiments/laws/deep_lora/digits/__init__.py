"""LoRA and Deep LoRA of a frozen network on handwritten digits: a setting in which the compression is approximate."""

from experiments.laws.deep_lora.digits.claims import COMPARISONS, LAWS, SUMMARY
from experiments.laws.deep_lora.digits.figures import CAPTIONS, figures
from experiments.laws.deep_lora.digits.system import FIELDS, VARIABLES, check, dynamics, shared
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
)
