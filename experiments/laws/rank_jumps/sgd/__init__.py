"""Rank jumps as they happen, under SGD on single entries (Figures 1 to 4)."""
