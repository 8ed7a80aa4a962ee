"""The flow that weights induce on their product (Eftekhari 2020)."""
