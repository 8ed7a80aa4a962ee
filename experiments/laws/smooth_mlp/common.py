"""What the experiments of smooth MLPs share: the paper, the names of activations, and the steps that laws need."""

from collections.abc import Iterable, Sequence

import numpy as np

from experiments.runner.laws import Objection
from experiments.runner.runs import Run
from lawlib.networks.activations import ACTIVATIONS

PAPER = "Xu et al. 2026"
TITLES = {"elu": "ELU", "gelu": "GELU", "silu": "SiLU", "tanh": "tanh"}
TITLES |= {"relu": "ReLU", "leaky_relu": "Leaky ReLU", "rrelu": "RReLU"}


def title(run: Run) -> str:
    """The activation of a run, as the paper writes it."""
    return TITLES[run.config.net.activation]


def is_smooth(name: str) -> bool:
    """Whether the activation of this name has a Lipschitz derivative."""
    return ACTIVATIONS[name].is_smooth


def observed(steps: Iterable[int]) -> Objection:
    """Runs that were observed at all of these steps."""
    wanted = np.fromiter(steps, int)

    def objection(found: Sequence[Run]) -> str:
        missing = [step for run in found for step in np.setdiff1d(wanted, run.steps)[:1]]
        return f"not observed at step {missing[0]}" if missing else ""

    return objection
