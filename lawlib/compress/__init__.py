"""Low-rank equivalents of networks: exact for deep linear networks, approximate for MLP heads.

``deep_linear`` (``reduce``, ``step``, ``expand``) is Section 4.1 of Yaras et al. 2023, and ``optimizers``
(``transformed``) are its steps under any equivariant optimizer; ``head`` (``low_rank_mlp``) is Section 5 of Xu et al.
2026, for Flax linen networks, and ``any_head`` (``low_rank_head``) for all others; ``adapters`` are LoRA and Deep LoRA
(Yaras et al. 2024) of a matrix, and ``adapted_network`` (``adapt``) puts them into the layers of any network;
``gradient_projection`` (``low_rank_gradients``) is GaLore (Zhao et al. 2024) without decompositions, around any optax
optimizer.
"""

from lawlib.compress.adapted_network import AdaptedNetwork, Start, adapt, with_adapters
from lawlib.compress.any_head import LowRankHead, low_rank_head
from lawlib.compress.deep_linear import (
    FUSED_SIZE,
    Bases,
    LowRank,
    Reduced,
    Reduction,
    bases_of,
    draw_bases,
    draw_reduction,
    expand,
    factors,
    init,
    reduce,
    reduced_loss,
    step,
)
from lawlib.compress.gradient_projection import low_rank_gradients
from lawlib.compress.head import LowRankNetwork, low_rank_mlp
from lawlib.compress.head_checks import Losses
from lawlib.compress.head_start import Savings, Size
from lawlib.compress.optimizers import transformed

__all__ = [
    "FUSED_SIZE",
    "AdaptedNetwork",
    "Bases",
    "Losses",
    "LowRank",
    "LowRankHead",
    "LowRankNetwork",
    "Reduced",
    "Reduction",
    "Savings",
    "Size",
    "Start",
    "adapt",
    "bases_of",
    "draw_bases",
    "draw_reduction",
    "expand",
    "factors",
    "init",
    "low_rank_gradients",
    "low_rank_head",
    "low_rank_mlp",
    "reduce",
    "reduced_loss",
    "step",
    "transformed",
    "with_adapters",
]
