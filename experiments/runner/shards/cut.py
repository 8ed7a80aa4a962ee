"""Shards of a config: one variant and a block of its seeds, which any machine can compute by itself.

A member depends on the root seed and its own index alone, so a shard is the config, restricted. Its members are stepped
in batches of the size that the undivided run has, on as many devices, since rounding depends on both.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from lawlib.dynamics.sweep import Plan

__all__ = ["Shard", "cut", "wasted"]

# By default a variant has so many blocks of seeds at most: a shard takes seconds to start and to compile.
MOST_BLOCKS = 4


class Shard(NamedTuple):
    """A variant by name, the seeds from ``first`` to ``stop - 1``, and how its members are divided."""

    variant: str
    first: int
    stop: int
    plan: Plan

    @property
    def seeds(self) -> range:
        """The seeds that it covers."""
        return range(self.first, self.stop)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.variant}-{self.first}-{self.stop - 1}"

    def record(self) -> dict[str, Any]:
        """The shard as JSON holds it."""
        return {"variant": self.variant, "seeds": [self.first, self.stop], "plan": list(self.plan)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Shard":
        """The shard of a ``record``."""
        first, stop = record["seeds"]
        return cls(record["variant"], first, stop, Plan(*record["plan"]))


def cut(
    variant: str, *, num_seeds: int, num_settings: int, plan: Plan, num_devices: int = 1, block: int = 0
) -> list[Shard]:
    """Cut a variant into shards of ``block`` seeds; 0: at most four, of whole batches where the seeds allow it.

    ``num_settings`` are the members of a seed, and ``plan`` is that of the undivided run on so many devices.
    """
    together = plan.batch * num_devices
    block = block or _block(num_seeds, num_settings, together)
    found = []
    for first in range(0, num_seeds, block):
        stop = min(first + block, num_seeds)
        rounds, most = math.ceil((stop - first) * num_settings / together), plan.chunk // together
        each = math.ceil(rounds / math.ceil(rounds / most))
        found.append(Shard(variant, first, stop, plan._replace(chunk=each * together)))
    return found


def _block(num_seeds: int, num_settings: int, together: int) -> int:
    whole = together // math.gcd(together, num_settings)  # the fewest seeds that fill their batches
    return min(num_seeds, math.ceil(math.ceil(num_seeds / MOST_BLOCKS) / whole) * whole)


def wasted(shard: Shard, num_settings: int) -> int:
    """How many members are computed only to fill the last chunk."""
    return -len(shard.seeds) * num_settings % shard.plan.chunk
