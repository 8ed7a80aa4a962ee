"""What claims and figures of adapters on digits measure: the best step size of each form and rank, and differences."""

from collections.abc import Sequence

import numpy as np

from experiments.runner.runs import Run

# Forms as they are called, by the form and gamma of a run.
LORA, FULL = "LoRA", "Deep LoRA, d x d factors"
# The gain in test accuracy with which an adapter has learnt from its digits; chance is 0.1.
LEARNT = 0.2


def form(run: Run) -> str:
    """What a run trains; compressed Deep LoRA with its gamma."""
    net = run.config.net
    return {"lora": LORA, "full": FULL}.get(net.form, f"Deep LoRA, gamma = {net.outer:g}")


def best(found: Sequence[Run]) -> dict[str, dict[int, Run]]:
    """For each form and rank the run of the step size with the highest mean test accuracy at the end."""
    chosen: dict[str, dict[int, Run]] = {}
    for run in found:
        own = chosen.setdefault(form(run), {})
        rank = run.config.net.rank
        if rank not in own or accuracy(run) > accuracy(own[rank]):
            own[rank] = run
    return chosen


def accuracy(run: Run) -> float:
    """The mean test accuracy at the end; below all others where a member diverged."""
    mean = float(np.mean(run.last("test_accuracy")))
    return mean if np.isfinite(mean) else -1.0


def gain(run: Run) -> np.ndarray:
    """The final test accuracy minus that at the start, shape (seed,)."""
    return run.last("test_accuracy") - run.first("test_accuracy")


def least_gain(found: Sequence[Run]) -> float:
    """The least mean gain of a form and rank, each at its best step size."""
    return min(float(np.mean(gain(run))) for runs in best(found).values() for run in runs.values())


def loss_moved(run: Run) -> np.ndarray:
    """The largest change of the test loss since the start, relative to the first one, shape (seed,)."""
    return np.abs(run.all("test_loss") / run.first("test_loss")[:, None] - 1).max(1)


def start_apart(run: Run) -> np.ndarray:
    """How far the first test loss is from that of the frozen network, relative to it, shape (seed,)."""
    return np.abs(run.first("test_loss") / run.first("frozen_loss") - 1)


def minus(one: Run, other: Run, name: str = "test_accuracy") -> np.ndarray:
    """A final value of one run minus that of the other, in the seeds that both have; they draw the same digits."""
    fewest = min(one.num_seeds, other.num_seeds)
    return one.last(name)[:fewest] - other.last(name)[:fewest]


def spread(runs: dict[int, Run]) -> np.ndarray:
    """Each seed's largest minus smallest final test accuracy over the ranks, shape (seed,)."""
    fewest = min(run.num_seeds for run in runs.values())
    return np.ptp(np.stack([run.last("test_accuracy")[:fewest] for run in runs.values()]), axis=0)
