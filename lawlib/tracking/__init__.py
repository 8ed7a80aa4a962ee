"""Watch matrices while a network trains: their leading triplets, and where these lie relative to reference subspaces.

``tracker`` observes parameters, gradients or updates in a loop of one's own, or inside an optax optimizer
(``Tracker.transform``). ``records`` finds what was recorded, ``dataset`` labels it (xarray), ``picture`` draws it
(matplotlib).
"""

from lawlib.tracking.datasets import dataset
from lawlib.tracking.monitor import Tracker, tracker
from lawlib.tracking.pictures import picture
from lawlib.tracking.state import Comparison, Fractions, Observation, Records, Track, Tracks, TransformState, records
from lawlib.tracking.tracked_leaves import Reference, TrackedLeaf

__all__ = [
    "Comparison",
    "Fractions",
    "Observation",
    "Records",
    "Reference",
    "Track",
    "TrackedLeaf",
    "Tracker",
    "Tracks",
    "TransformState",
    "dataset",
    "picture",
    "records",
    "tracker",
]
