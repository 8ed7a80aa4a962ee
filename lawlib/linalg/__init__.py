"""Linear algebra of gradients: subspaces and their angles, matrix-free spectra, curvature."""
