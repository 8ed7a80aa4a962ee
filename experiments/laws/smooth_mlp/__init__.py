"""Smooth MLPs move in a small subspace (Xu et al. 2026)."""
