"""Networks, as pure functions of their weights and as Flax modules, and how they are initialized."""
