"""One-way jumps of SGD from high to low rank (Wang and Jacot 2024)."""
