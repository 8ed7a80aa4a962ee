"""VGG-16 with full and low-rank heads (Figures 7 and 15)."""
