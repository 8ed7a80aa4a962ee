"""Data: synthetic regression, classification and completion, and subspace inverse problems."""
