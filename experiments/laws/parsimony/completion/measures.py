"""What claims and figures of deep matrix completion measure: recovery, steps to the tolerance, counted arithmetic."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from experiments.runner.runs import Run, find

GAMMA = 0.01


def capped(run: Run) -> np.ndarray:
    """Which members did not reach the tolerance, shape (seed,)."""
    return run.data.converged_at.values < 0


def steps_to_tolerance(run: Run, otherwise: float | None = None) -> np.ndarray:
    """Each member's steps to the tolerance, shape (seed,); ``otherwise``, by default the cap, if it is not reached."""
    cap = run.config.opt.num_steps if otherwise is None else otherwise
    return np.where(capped(run), cap, run.data.converged_at.values).astype(float)


def final_recovery(run: Run) -> np.ndarray:
    """Each member's recovery error at its end, the mean over all entries, shape (seed,)."""
    return run.last("recovery_error")


def by_rank(found: Sequence[Run], kind: str) -> dict[int, Run]:
    """The networks of a kind by their estimate r^ of the rank, from the smallest."""
    chosen = {run.config.net.rank: run for run in find(found, net__kind=kind)}
    return dict(sorted(chosen.items()))


def ranks_compared(found: Sequence[Run]) -> list[int]:
    """The estimates r^ at which there are both a narrow and a compressed network."""
    return [rank for rank in by_rank(found, "narrow") if rank in by_rank(found, "compressed")]


def with_common_seeds(found: Sequence[Run]) -> list[Run]:
    """The runs with the seeds that all of them have."""
    fewest = min(run.num_seeds for run in found)
    return [run.members(np.arange(run.num_seeds) < fewest) for run in found]


def narrow_over_compressed(found: Sequence[Run]) -> np.ndarray:
    """Steps of the narrow network over those of the compressed one, shape (r^, seed).

    A narrow network counts with the cap, a lower bound; a compressed one that does not reach the tolerance gives 0.
    """
    ranks = ranks_compared(found)
    chosen = with_common_seeds([by_rank(found, kind)[rank] for kind in ("narrow", "compressed") for rank in ranks])
    narrow, compressed = chosen[: len(ranks)], chosen[len(ranks) :]
    slow = np.stack([steps_to_tolerance(run) for run in narrow])
    return slow / np.stack([steps_to_tolerance(run, np.inf) for run in compressed])


def spread_of_steps(found: Sequence[Run]) -> np.ndarray:
    """(Most - fewest) / fewest of each seed's steps to the tolerance over the runs, shape (seed,)."""
    steps = np.stack([steps_to_tolerance(run, np.inf) for run in with_common_seeds(found)])
    return (steps.max(0) - steps.min(0)) / steps.min(0)


def compressed_and_full(found: Sequence[Run]) -> list[Run]:
    """The compressed network of gamma = 0.01 and the network that it stands for, if the study has both."""
    compressed = find(found, study="gamma", net__kind="compressed", opt__discrepancy=GAMMA)[:1]
    full = find(found, study="gamma", net__kind="full")[:1]
    return with_common_seeds([*compressed, *full]) if compressed and full else []


def operations_per_step(config: ConfigDict) -> int:
    """Floating-point operations of the matrix products in one gradient of a network.

    A product of m x n and n x p matrices counts 2 m n p, and each of the end-to-end product comes back twice in the
    gradient. Entry-wise work is left out.
    """
    net, d = config.net, config.data.size
    if net.kind == "compressed":
        k = 2 * net.rank
        return 3 * 2 * ((net.depth - 1) * k**3 + k * k * d + d * k * d)
    width = net.width if net.kind == "full" else 2 * net.rank
    return 3 * 2 * ((net.depth - 2) * width * width * d + d * width * d)
