"""Watch matrices while a network trains: their leading triplets, and where these lie relative to reference subspaces.

``tracker`` observes parameters, gradients or updates in a loop of one's own, or inside an optax optimizer
(``Tracker.transform``). ``records`` finds what was recorded, ``dataset`` labels it (xarray), ``picture`` draws it
(matplotlib).
"""

from lawlib.tracking.datasets import dataset
from lawlib.tracking.monitor import Tracker, tracker
from lawlib.tracking.pictures import picture
from lawlib.tracking.state import Comparison, Fractions, Look, Records, Track, Tracks, TransformState, records
from lawlib.tracking.watched import Reference, Watched

__all__ = [
    "Comparison",
    "Fractions",
    "Look",
    "Records",
    "Reference",
    "Track",
    "Tracker",
    "Tracks",
    "TransformState",
    "Watched",
    "dataset",
    "picture",
    "records",
    "tracker",
]
