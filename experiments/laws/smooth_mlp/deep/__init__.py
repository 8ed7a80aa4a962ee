"""Deeper MLPs, other optimizers and real data (Figures 4 to 6)."""
