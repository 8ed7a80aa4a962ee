"""Deep LoRA and its compression (Yaras et al. 2024): exact in the linear setting, and on a frozen network of digits."""
