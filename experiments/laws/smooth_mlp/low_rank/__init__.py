"""Low-rank MLPs on real images (Xu et al. 2026, Section 5.1.1, Appendix F)."""

from experiments.laws.smooth_mlp.low_rank.claims import COMPARISONS, LAWS, SUMMARY
from experiments.laws.smooth_mlp.low_rank.figures import CAPTIONS, figures
from experiments.laws.smooth_mlp.low_rank.system import FIELDS, VARIABLES, check, dynamics, shared, sources
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
