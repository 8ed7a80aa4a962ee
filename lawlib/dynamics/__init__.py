"""Dynamical systems with observations: one trajectory (``system``), and many in one program (``sweep``)."""
