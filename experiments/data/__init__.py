"""Image data sets and pretrained weights: found, verified, and prepared once."""
