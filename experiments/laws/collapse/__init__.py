"""Progressive collapse (Yaras et al. 2023, Section 4.2)."""
