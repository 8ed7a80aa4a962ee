"""The induced flow from a single neuron (Section 4)."""
