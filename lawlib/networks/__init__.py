"""Networks as Flax modules, and the way between their parameters and the papers' tuples of matrices."""
