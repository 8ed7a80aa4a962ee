"""Networks, as pure functions of their weights and as Flax modules, and their initialization."""
