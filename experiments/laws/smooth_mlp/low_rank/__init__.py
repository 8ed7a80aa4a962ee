"""Low-rank MLPs on images."""
