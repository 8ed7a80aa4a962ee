"""The landscape of linear networks and the limits of their gradient flow (Sections 2 and 3)."""
