"""Does a network train in a small subspace, and which rank does its change need?  One call before training, one after.

``before`` keeps the starting weights of the layers and finds S_big of each. ``after`` states where the change of each
layer lies, and how the network does on held-out data with each change cut to a rank. A ``Report`` prints as a table.
"""

from lawlib.diagnose.layers import Layer, Plan
from lawlib.diagnose.reporting import after
from lawlib.diagnose.starting import before
from lawlib.diagnose.state import HeldOut, LayerReport, LayerStart, Report, Shares, Start

__all__ = ["HeldOut", "Layer", "LayerReport", "LayerStart", "Plan", "Report", "Shares", "Start", "after", "before"]
