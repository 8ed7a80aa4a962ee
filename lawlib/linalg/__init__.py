"""Linear algebra of gradients: subspaces and their angles, spectra without matrices, curvature."""
