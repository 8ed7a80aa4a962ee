"""What claims and figures of deep matrix completion measure: recovery, steps to the tolerance, counted arithmetic."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from experiments.runner.runs import Run, find, grouped


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


def fall(run: Run) -> np.ndarray:
    """1 - last / first mean loss on the observed entries, shape (seed,)."""
    return 1 - run.last("loss") / run.first("loss")


def degrees_of_freedom(data: ConfigDict) -> int:
    """Of a d x d matrix of rank r: r (2d - r)."""
    return data.rank * (2 * data.size - data.rank)


def share_needed(found: Sequence[Run], below: float) -> np.ndarray:
    """The least share of entries from which on a seed is recovered, of the shares of these runs, shape (seed,).

    Recovered is a seed whose recovery error ends below ``below``. Infinite if it is not recovered at the largest share.
    """
    ordered = sorted(found, key=lambda run: run.config.data.observed, reverse=True)
    recovered = np.stack([final_recovery(run) < below for run in ordered])
    shares = np.array([np.inf, *(run.config.data.observed for run in ordered)])
    return shares[np.cumprod(recovered, axis=0).sum(0)]


def over(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One measure over another, seed by seed, for the seeds that both runs have."""
    common = min(len(first), len(second))
    return first[:common] / second[:common]


def path_distances(run: Run, full: Run) -> np.ndarray:
    """||P(t) - P_full(t)||_F over ||P_full||_F at the end, of the ``projection`` P, shape (seed, step)."""
    common = min(run.num_seeds, full.num_seeds)
    own, others = (each.all("projection")[:common] for each in (run, full))
    return np.linalg.norm(own - others, axis=(2, 3)) / np.linalg.norm(others[:, -1:], axis=(2, 3))


def mean_distance(run: Run, full: Run) -> np.ndarray:
    """The mean of ``path_distances`` over the steps that the full network makes, shape (seed,)."""
    distances = path_distances(run, full)
    ends = steps_to_tolerance(full)[: len(distances), None]
    return np.average(distances, axis=1, weights=full.steps <= ends)


def compared(found: Sequence[Run]) -> list[tuple[Run, Run]]:
    """The narrow and the compressed network of each estimate r^ of the rank that has both."""
    of_rank = grouped(found, "net.rank").values()
    kinds = [[find(runs, net__kind=kind) for kind in ("narrow", "compressed")] for runs in of_rank]
    return [(narrow[0], compressed[0]) for narrow, compressed in kinds if narrow and compressed]


def narrow_over_compressed(found: Sequence[Run]) -> np.ndarray:
    """Steps of the narrow network over steps of the compressed one, for every r^ and seed.

    A narrow network counts with the cap, a lower bound; a compressed one that does not reach the tolerance gives 0.
    """
    pairs = ((steps_to_tolerance(slow), steps_to_tolerance(quick, np.inf)) for slow, quick in compared(found))
    return np.concatenate([over(*pair) for pair in pairs])


def spread_of_steps(found: Sequence[Run]) -> np.ndarray:
    """(Most - fewest) / fewest of each seed's steps to the tolerance over the runs, shape (seed,)."""
    steps = np.stack([steps_to_tolerance(run, np.inf) for run in found])
    return (steps.max(0) - steps.min(0)) / steps.min(0)


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
