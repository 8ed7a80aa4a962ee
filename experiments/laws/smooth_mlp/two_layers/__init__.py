"""Two layers, the case of the theorem (Section 3)."""
