"""VGG-16 on CIFAR-10 with a full and a low-rank head (Xu et al. 2026, Section 5.1.2, Appendix F.2)."""

from experiments.laws.smooth_mlp.vgg_heads.claims import COMPARISONS, LAWS, SUMMARY
from experiments.laws.smooth_mlp.vgg_heads.figures import CAPTIONS, figures
from experiments.laws.smooth_mlp.vgg_heads.system import (
    FIELDS,
    VARIABLES,
    check,
    dynamics,
    sample_devices,
    shared,
    sources,
)
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
    sample_devices=sample_devices,
)
