"""Dynamical systems under observation: one trajectory (``system``) and many as one program (``sweep``)."""
