"""How both errors decay under gradient descent (Figures 2 to 4)."""
