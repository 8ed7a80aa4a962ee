"""Subspace inverse problems (Laus et al. 2025)."""
