"""What the papers state, one module a paper: figures, theorems and sentences, and where each is judged."""
