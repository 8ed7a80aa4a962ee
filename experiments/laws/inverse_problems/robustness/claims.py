"""The claims on noise robustness: Figures 1a and 1b of Laus et al. 2025, and the digits."""

import functools as ft
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from experiments.laws.inverse_problems.common import PAPER, Run, runs
from experiments.laws.inverse_problems.decay.claims import exact_laws, warn_of_divergence
from experiments.runner.claims import Claim, numbers_apiece, over
from lawlib.theory import inverse_problems as theory

__all__ = ["claims", "levels"]

# The weight decay that the bounds of Figure 1a are stated for.
ROBUST = 1e-2
# The figures' own length, eta t; a shorter run has not left its start.
TRAINED = 100.0
MISSING = "no member of this profile has that weight decay and is trained for eta t = 100"


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the figure that the config is for."""
    found = runs(results)
    warn_of_divergence(found)
    judged = {"robustness": _robustness, "union": _union, "digits": _digits}
    return list(judged[found[0].config.study](found))


def _robustness(found: Sequence[Run]) -> Iterator[Claim]:
    """Figure 1a: without decay the start stays across the subspace, with it the network is nearly the oracle."""
    about: dict[str, Any] = {"id": "F1a", "figure": "Fig. 1a"}
    plain, decayed = _of(found, 0.0), _of(found, ROBUST)
    statement = "lambda = 0: | ||W P_perp||_F / sqrt(d (m-s) / m) - 1 |"
    off = [np.abs(run.last("outside_norm") / _outside(run) - 1) for run in plain]
    yield _judged(plain, off, statement=statement, relation="<", bound=0.06, **about)
    statement = "lambda = 0: | test error / (sigma sqrt(d (m-s) / m)) - 1 |, every sigma >= .05"
    off = [np.abs(_chosen(run, "test_error", 0.05) / _noise(run, 0.05) / _outside(run) - 1) for run in plain]
    yield _judged(plain, off, statement=statement, relation="<", bound=0.06, **about)
    statement = f"lambda = {ROBUST:g}: test error over that of the oracle map X Y^+, every sigma >= .05"
    ratios = [_chosen(run, "test_error", 0.05) / _chosen(run, "oracle_error", 0.05) for run in decayed]
    yield _judged(decayed, ratios, statement=statement, relation="<", bound=1.15, **about)
    statement = f"gain: test error with lambda = 0 over that with lambda = {ROBUST:g}, every sigma >= .1"
    yield _judged(
        decayed if plain else [], _gains(plain, decayed, 0.1), statement=statement, relation=">", bound=4.0, **about
    )
    yield from _all_gains(found, 0.1, **about)
    yield from exact_laws(found, **about)
    yield from _assumptions(found, **about)


def _union(found: Sequence[Run]) -> Iterator[Claim]:
    """Figure 1b: a ReLU network on a union of subspaces gains too."""
    about: dict[str, Any] = {"id": "F1b", "figure": "Fig. 1b"}
    plain, decayed = _of(found, 0.0), _of(found, ROBUST)
    at = found[0].config.data.num_measurements ** -0.5
    statement = (
        f"gain: test error with lambda = 0 over that with lambda = {ROBUST:g} at relative noise 1 (||noise|| ~ ||y||)"
    )
    yield _judged(
        decayed if plain else [],
        _gains(plain, decayed, at, only=True),
        statement=statement,
        relation=">",
        bound=1.3,
        **about,
    )
    statement = "the same at sigma = 1 in every measurement"
    yield _reported(
        decayed if plain else [], _gains(plain, decayed, 1.0, only=True), statement=statement, statistic="min", **about
    )
    for run in found:
        statement = f"lambda = {run.decay:g}: regression error at the end"
        yield _reported([run], [run.last("regression_error")], statement=statement, **about)


def _digits(found: Sequence[Run]) -> Iterator[Claim]:
    """Digits in their principal subspace: the same effect, where kappa is not 1."""
    about: dict[str, Any] = {"id": "digits", "figure": "Fig. 1a on real data"}
    plain = _of(found, 0.0)
    decayed = [run for run in found if run.decay > 0]
    statement = "gain: test error with lambda = 0 over that of the best lambda, every sigma >= .1"
    each = [gain for run in decayed for gain in _gains(plain, [run], 0.1)]
    gains = [np.max(each, axis=0)] if each else []
    yield _judged(decayed if gains else [], gains, statement=statement, relation=">", bound=1.0, **about)
    yield from _all_gains(found, 0.1, **about)
    for run in decayed:
        ratios = [_chosen(run, "test_error", 0.1) / _chosen(run, "oracle_error", 0.1)]
        statement = f"lambda = {run.decay:g}: test error over that of the oracle map, every sigma >= .1"
        yield _reported([run], ratios, statement=statement, statistic="max", **about)
    for run in found:
        statement = f"lambda = {run.decay:g}: test error without noise"
        yield _reported([run], [run.last("test_error")[:, 0]], statement=statement, **about)
    kappa = [
        run.data.signal_values.isel(step=0, index=0).values / run.data.signal_values.isel(step=0, index=-1).values
        for run in found[:1]
    ]
    yield _reported(found[:1], kappa, statement="condition number of the digits in that subspace", **about)
    yield from exact_laws(found, **about)
    yield from _assumptions(found, **about)


def _all_gains(found: Sequence[Run], least: float, **about: Any) -> Iterator[Claim]:
    plain = _of(found, 0.0)
    for run in found:
        if run.decay > 0 and plain and _is_trained(run):
            statement = f"test error with lambda = 0 over that with lambda = {run.decay:g}, every sigma >= {least:g}"
            yield _reported([run], _gains(plain, [run], least), statement=statement, statistic="min", **about)


def _assumptions(found: Sequence[Run], **about: Any) -> Iterator[Claim]:
    isometry = [run.all("isometry")[:, 0] / theory.LARGEST_ISOMETRY for run in found]
    statement = "RIP constant delta over the theorem's 1/10"
    if about["id"] == "digits":
        yield _reported(found, isometry, statement=statement, statistic="min", **about)
    else:
        statement = f"the figure is 'covered by our theory': RIP fails, {statement}"
        yield _judged(found, isometry, kind="printed", statement=statement, relation=">", bound=1.0, **about)


def levels(run: Run) -> np.ndarray:
    """The noise levels sigma of a run."""
    return np.asarray(run.config.data.noise)


def _of(found: Sequence[Run], decay: float) -> list[Run]:
    return [run for run in found if run.decay == decay and _is_trained(run)]


def _is_trained(run: Run) -> bool:
    opt = run.config.opt
    return opt.step_unit != "one" or opt.num_steps * opt.step_size >= TRAINED * (1 - 1e-9)


def _outside(run: Run) -> float:
    data = run.config.data
    sizes = {name: data[name] for name in ("dimension", "num_measurements", "subspace_dimension")}
    return theory.unregularized_norm(**sizes)


def _noise(run: Run, least: float) -> np.ndarray:
    chosen = levels(run)
    return chosen[chosen >= least]


def _chosen(run: Run, name: str, least: float) -> np.ndarray:
    """A test error at the end, of every member and every sigma from ``least`` on."""
    return run.last(name)[:, levels(run) >= least]


def _gains(plain: Sequence[Run], decayed: Sequence[Run], least: float, *, only: bool = False) -> list[np.ndarray]:
    """Test errors without over those with decay, of one seed at one sigma; from ``least`` on or there ``only``."""
    if not plain or not decayed:
        return []
    chosen = np.isclose(levels(plain[0]), least) if only else levels(plain[0]) >= least * (1 - 1e-9)
    pairs = zip(plain, decayed, strict=True)
    return [before.last("test_error")[:, chosen] / after.last("test_error")[:, chosen] for before, after in pairs]


def _judged(family: Sequence[Run], values: Sequence[Any], **about: Any) -> Claim:
    about |= {"missing": MISSING, "apiece": numbers_apiece(values)}
    return over(family, lambda _: np.concatenate([np.ravel(v) for v in values]), paper=PAPER, **about)


_reported = ft.partial(_judged, kind="report")
