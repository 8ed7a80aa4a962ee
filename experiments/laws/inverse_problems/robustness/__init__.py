"""Robust recovery from noisy measurements."""
