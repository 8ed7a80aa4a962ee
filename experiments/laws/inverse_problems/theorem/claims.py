"""The claims of Theorem A.2 and Corollary 2.6 of Laus et al. 2025."""

import functools as ft
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.laws.inverse_problems.common import PAPER, Run, runs
from experiments.laws.inverse_problems.decay.claims import exact_laws, warn_of_divergence
from experiments.runner.claims import Claim, not_run, numbers_apiece, over
from lawlib.theory import inverse_problems as theory

__all__ = ["claims", "lower_bound", "upper_bound"]

SHORT = "no member of this profile reaches T"
FEW = "a slope needs two widths or more"


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the theorem for lambda > 0, on the corollary for both, and on the hypotheses."""
    found = runs(results)
    warn_of_divergence(found)
    regularized = [run for run in found if run.decay > 0]
    return [*_theorem(regularized), *_corollary(found), *_hypotheses(regularized)]


def _theorem(family: Sequence[Run]) -> Iterator[Claim]:
    """Both phases, at every step of every member."""
    about: dict[str, Any] = {"id": "A2", "figure": "Theorem A.2"}
    ended = [run for run in family if run.is_there(run.last("first_phase_end") > 0)]
    statement = f"||Phi(t+1)|| / ||Phi(t)|| over 1 - eta L sigma_min^2 / (32 m), every t < tau, {_sizes(ended)}"
    worst = [run.last("first_phase_rate") for run in ended]
    yield _judged(ended, worst, statement=statement, relation="<=", bound=1.0, **about)
    there = _at_the_end(family)
    shares = [run.last("off_subspace_error") / theory.off_subspace_bound(run.config.net.width) for run in there]
    statement = f"off-subspace error at T over d_w^(-3/2), {_sizes(there)}"
    yield _judged(there, shares, statement=statement, relation="<", bound=1.0, **about)
    statement = f"slope of log off-subspace error at T (median) in log d_w, {_sizes(there)}"
    if len(there) < 2:
        yield not_run(kind="law", reason=FEW, statement=statement, paper=PAPER, **about)
    else:
        sizes = [run.config.net.width for run in there]
        errors = [np.median(run.last("off_subspace_error")) for run in there]
        slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
        yield _judged(there, [[slope]], statement=statement, relation="<", bound=-1.5, **about)
    peaks = [run.last("second_phase_error") / run.last("accuracy") for run in there]
    statement = "C_1: largest ||Phi(t)|| / (gamma ||X||_F) over tau <= t <= T"
    yield _reported(there, peaks, statement=statement, statistic="max", **about)
    spans = [run.last("first_phase_end") for run in there]
    yield _reported(there, spans, statement="tau, steps", statistic="max", **about)
    yield _reported(there, [run.last("stopping_time") for run in there], statement="T, steps", **about)
    yield from exact_laws(family, **about)


def _corollary(found: Sequence[Run]) -> Iterator[Claim]:
    """Both bounds with all hidden constants 1, beside the errors measured."""
    about: dict[str, Any] = {"id": "2.6", "figure": "Corollary 2.6"}
    there = _at_the_end(found)
    regularized, plain = ([run for run in there if (run.decay > 0) == decays] for decays in (True, False))
    ratios = [run.last("test_error") / upper_bound(run) for run in regularized]
    statement = "test error with lambda > 0 over (19) with constants 1, every sigma"
    yield _reported(regularized, ratios, statement=statement, statistic="max", **about)
    oracle = [_noisy(run, run.last("test_error")) / _noisy(run, run.last("oracle_error")) for run in regularized]
    statement = "test error with lambda > 0 over that of the oracle map, every sigma >= .05"
    yield _reported(regularized, oracle, statement=statement, statistic="max", **about)
    lower = [_noisy(run, run.last("test_error")) - _noisy(run, lower_bound(run)) for run in plain]
    statement = "test error with lambda = 0 less the lower bound (20) with constants 1, every sigma >= .05"
    yield _judged(plain, lower, statement=statement, relation=">=", bound=0.0, **about)
    statement = "beta of (20): regression error with lambda = 0"
    yield _reported(
        plain, [run.last("regression_error") for run in plain], statement=statement, statistic="max", **about
    )


def _hypotheses(family: Sequence[Run]) -> Iterator[Claim]:
    """The hypotheses as quantities, each of which should be at most 1."""
    about: dict[str, Any] = {"id": "A2", "figure": "Theorem A.2's hypotheses", "statistic": "max"}
    names = {
        "isometry": "RIP: delta over 1/10",
        "decay": "lambda over the cap L sigma_min^2 / 14000",
        "step": "eta over m / (L sigma_max^2)",
        "accuracy": "gamma",
    }
    assumed = [run.hypotheses for run in family]
    for name, statement in names.items():
        values = [
            np.broadcast_to(each[name], run.last("isometry").shape) for each, run in zip(assumed, family, strict=True)
        ]
        verdict = "holds" if values and max(np.max(v) for v in values) <= 1 else "does not hold"
        yield _reported(family, values, statement=f"{statement}: the hypothesis (at most 1) {verdict}", **about)


def upper_bound(run: Run) -> np.ndarray:
    """(19) for every member and sigma, with the member's own gamma."""
    about = {"width": run.config.net.width, "noise": jnp.asarray(run.config.data.noise)}
    members = zip(run.last("accuracy"), jnp.asarray(run.signal_values), strict=True)
    return np.stack([theory.regularized_error(gamma=float(g), singular_values=v, **about) for g, v in members])


def lower_bound(run: Run) -> np.ndarray:
    """(20) for every member and sigma, with the member's own regression error as beta."""
    data = run.config.data
    sizes = {"dimension": data.dimension, "num_measurements": data.num_measurements}
    betas, values, norms = run.last("regression_error"), jnp.asarray(run.signal_values), run.last("test_norm")
    return np.asarray(
        [
            [
                theory.unregularized_error(
                    noise=sigma, regression_error=float(beta), singular_values=value, norm=float(norm), **sizes
                )
                for sigma, norm in zip(data.noise, each, strict=True)
            ]
            for beta, value, each in zip(betas, values, norms, strict=True)
        ]
    )


def _noisy(run: Run, errors: np.ndarray) -> np.ndarray:
    """The errors of every member at every sigma >= .05."""
    return errors[:, np.asarray(run.config.data.noise) >= 0.05].ravel()


def _at_the_end(family: Sequence[Run]) -> list[Run]:
    return [run for run in family if run.is_there(run.data.converged_at.values >= 0)]


def _sizes(family: Sequence[Run]) -> str:
    return "d_w = " + ", ".join(str(run.config.net.width) for run in family)


def _judged(family: Sequence[Run], values: Sequence[Any], **about: Any) -> Claim:
    about |= {"missing": SHORT, "apiece": numbers_apiece(values)}
    return over(family, lambda _: np.concatenate([np.ravel(v) for v in values]), paper=PAPER, **about)


_reported = ft.partial(_judged, kind="report")
