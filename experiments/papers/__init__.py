"""What the papers state, one module a paper: figures, theorems and sentences, and where each is judged."""

from experiments.papers import deep_lora, induced_flow, inverse_problems, parsimony, rank_jumps, smooth_mlp

__all__ = ["PAPERS"]

# By the names of their modules.
PAPERS = {
    module.__name__.rpartition(".")[-1]: module.PAPER
    for module in (parsimony, smooth_mlp, rank_jumps, induced_flow, inverse_problems, deep_lora)
}
