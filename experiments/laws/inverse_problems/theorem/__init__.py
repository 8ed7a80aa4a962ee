"""Theorem A.2 within its hypotheses."""
