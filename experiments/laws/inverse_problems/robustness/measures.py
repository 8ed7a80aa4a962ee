"""What the claims on noise robustness measure: test errors at chosen noise, and what weight decay gains."""

import numpy as np

from experiments.runner.runs import Run
from lawlib.theory import inverse_problems as theory


def noise(run: Run) -> np.ndarray:
    """The noise levels sigma, ascending as in the config."""
    return np.asarray(run.config.data.noise)


def from_noise(run: Run, name: str, least: float) -> np.ndarray:
    """A test error at the end, of every member at every sigma from ``least`` on, shape (seed, sigma)."""
    return run.last(name)[:, noise(run) >= least * (1 - 1e-9)]


def at_noise(run: Run, level: float) -> np.ndarray:
    """The test error at the end at this sigma, shape (seed, 1); (seed, 0) where the config lacks it."""
    return run.last("test_error")[:, np.isclose(noise(run), level)]


def over_oracle(run: Run, least: float) -> np.ndarray:
    """The test error over that of the map that knows the subspace, at every sigma from ``least`` on."""
    return from_noise(run, "test_error", least) / from_noise(run, "oracle_error", least)


def gain(plain: Run, decayed: Run, least: float) -> np.ndarray:
    """The test error of a run over that of another with the same seeds, at every sigma from ``least`` on."""
    return from_noise(plain, "test_error", least) / from_noise(decayed, "test_error", least)


def outside(run: Run) -> float:
    """||W P_perp||_F without decay, by Theorem A.2's assumption on the start: sqrt(d (m-s) / m)."""
    data = run.config.data
    sizes = {name: data[name] for name in ("dimension", "num_measurements", "subspace_dimension")}
    return theory.unregularized_norm(**sizes)
