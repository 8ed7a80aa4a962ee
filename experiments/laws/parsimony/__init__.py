"""The law of parsimony (Yaras et al. 2023)."""
