"""Many processes that make one run: how they are told of each other, what each does, and how they end."""
