"""Compressed Deep LoRA where it is exact (Yaras et al. 2024): beside the d x d factors that it stands for."""

from experiments.laws.deep_lora.linear.claims import LAWS, SUMMARY
from experiments.laws.deep_lora.linear.figures import CAPTIONS, figures
from experiments.laws.deep_lora.linear.system import FIELDS, VARIABLES, check, dynamics
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
