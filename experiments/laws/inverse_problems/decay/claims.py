"""The claims on the decay of both errors: Figures 2 to 4 of Laus et al. 2025, and what they were drawn with."""

import functools as ft
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.laws.inverse_problems.common import PAPER, Run, runs
from experiments.runner.claims import Claim, each, judge, over, report
from lawlib.theory import inverse_problems as theory

__all__ = ["claims", "exact_laws", "predicted", "warn_of_divergence"]

# Where the regression error is at rest, and between which times the off-subspace error depends on the depth.
AT_REST, EARLY = 8.0, (0.1, 0.5)
# Until then, and beyond it up to rounding, the first layer's law is exact.
EXACT_UNTIL, EXACT = 8.0, 1e-10
# The slopes of Figure 2 are those of log ||W P_perp|| from here on.
SLOPE_FROM = 0.5
SHORT = "no member of this profile goes so far"
ONE = "it compares two settings or more"

Measure = Callable[[Run], np.ndarray]


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the figure that the config is for, study by study."""
    found = runs(results)
    judged = {"dimension": _dimension, "depth": _depth, "decay": _decay, "printed": _printed, "compression": _samples}
    studied = {study: [run for run in found if run.config.study == study] for study in judged}
    warn_of_divergence([run for run in found if run.config.study != "printed"])
    verdict = [claim for study, family in studied.items() if family for claim in judged[study](family)]
    linear = [run for run in found if run.config.study != "compression"]
    return verdict + list(_hypotheses(linear, verdict[0].figure))


def warn_of_divergence(family: Sequence[Run]) -> None:
    """Say at which step a run diverged, and how far its step size was from what is stable."""
    for run in family:
        bad = run.data.diverged_at.values
        sharpness = run.all("sharpness")[:, 0].max() if _linear(run) else 0.0
        if run.diverged or sharpness > 2:
            tell = f"; eta lambda_max(P(0)) is up to {sharpness:.3g} at the start, stable below 2" if sharpness else ""
            when = f", first at step {bad[bad >= 0].min()}" if run.diverged else f" in {run.steps.max()} steps"
            warnings.warn(f"{run.name}: {run.diverged} of {bad.size} members diverged{when}{tell}", stacklevel=2)


def _linear(run: Run) -> bool:
    return "sharpness" in run.data


def _dimension(family: Sequence[Run]) -> Iterator[Claim]:
    """Figure 2: neither error's rate depends on the dimension of the subspace."""
    about: dict[str, Any] = {"id": "F2", "figure": "Fig. 2"}
    names = ", ".join(str(run.config.data.subspace_dimension) for run in family)
    statement = f"regression error at the end, s = {names}: largest median over smallest, less 1"
    spread = _across(
        lambda medians: medians.max() / medians.min() - 1, lambda run: _median(run, "regression_error")[-1]
    )
    yield _judged(family, spread, statement=statement, relation="<", bound=0.3, least=2, **about)
    long = [run for run in family if run.last("rescaled_time").min() > 2 * SLOPE_FROM]
    statement = f"slope of log off-subspace error in x from {SLOPE_FROM} on, s = {names}: largest over smallest, less 1"
    spread = _across(lambda slopes: np.abs(slopes).max() / np.abs(slopes).min() - 1, _slope)
    yield _judged(long, spread, statement=statement, relation="<", bound=0.1, least=2, **about)
    statement = f"off-subspace error, s = {names}: largest median over smallest at one time"
    ratio = _across(
        lambda medians: (medians.max(0) / medians.min(0)).max(), lambda run: _median(run, "off_subspace_error")
    )
    yield _judged(family, ratio, statement=statement, relation="<", bound=2.5, least=2, **about)
    yield from exact_laws(family, **about)


def _depth(family: Sequence[Run]) -> Iterator[Claim]:
    """Figure 3: depth helps early, the plateau is that of the scalar minimizer."""
    about: dict[str, Any] = {"id": "F3", "figure": "Fig. 3"}
    yield from _plateaus(family, factor=20, **about)
    least = min(run.decay for run in family)
    early = {run.config.net.depth: run for run in family if run.decay == least}
    ordered = [early[depth] for depth in (5, 3, 2) if depth in early]
    statement = (
        f"off-subspace error, {EARLY[0]} <= x <= {EARLY[1]}, lambda = {least:g}: L = 5 over L = 3, and L = 3 over L = 2"
    )
    reached = all(run.last("rescaled_time").min() >= 0.99 * EARLY[1] for run in ordered)
    yield _judged(ordered if reached else [], _ordered, statement=statement, relation="<", bound=1.0, least=3, **about)
    yield from exact_laws(family, **about)


def _decay(family: Sequence[Run]) -> Iterator[Claim]:
    """Figure 4: more decay costs regression error and removes the off-subspace error sooner."""
    about: dict[str, Any] = {"id": "F4", "figure": "Fig. 4"}
    yield from _plateaus(family, factor=10, **about)
    common = sorted((run for run in family if run.config.opt.rescaling_decay > 0), key=lambda run: run.decay)
    ends = [run.config.opt.rescaling_decay for run in common]
    whole = all(run.is_there(run.data.converged_at.values >= 0) for run in common)
    at = f"at the t where lambda = {max(ends, default=0):g} has x = 16"
    statement = f"off-subspace error {at}: over that of the next smaller lambda"
    falling = _across(lambda ends: (ends[1:] / ends[:-1]).max(0), lambda run: run.last("off_subspace_error"))
    yield _judged(common if whole else [], falling, statement=statement, relation="<", bound=1.0, least=2, **about)
    still = [run for run in common if run.decay == 0 and whole]
    still = [run for run in still if _is_wide(run)] or still
    wide: dict[str, Any] = about | {"outside": _outside(still)}
    statement = "lambda = 0: change of the off-subspace error from its start to that t, relative"
    moved = each(lambda run: np.abs(run.last("off_subspace_error") / run.all("off_subspace_error")[:, 0] - 1))
    yield _judged(still, moved, statement=statement, relation="<", bound=0.05, **wide)
    yield _judged(
        still,
        each(lambda run: run.last("regression_error")),
        statement="lambda = 0: regression error at that t",
        relation="<",
        bound=1e-12,
        **wide,
    )
    yield from exact_laws(family, **about)


def _printed(family: Sequence[Run]) -> Iterator[Claim]:
    """The step size as printed."""
    about: dict[str, Any] = {"id": "F3/4", "figure": "Figs. 3, 4", "paper": PAPER}
    config = family[0].config
    for members in (
        [run for run in family if run.config.net.depth > 2],
        [r for r in family if r.config.net.depth == 2],
    ):
        if not members:
            continue
        bad = np.concatenate([run.data.diverged_at.values for run in members]).astype(float)
        first = np.where(bad >= 0, bad, np.inf)
        at = f"eta = {config.opt.step_size:g}, d_w = {config.net.width} as printed, L = {_depths(members)}"
        if members[0].config.net.depth > 2:
            statement = f"{at} ('covered by our theory') is stable: it is not, the step with a value no longer finite"
            verdict: dict[str, Any] = {"kind": "printed", "relation": "<=", "bound": 10, "statistic": "max"}
            yield judge(statement=statement, values=first, counts_divergence=True, **verdict, **about)
        else:
            # At the edge of stability: there the draw decides.
            statement = f"{at}: fraction of members that diverge"
            yield report(statement=statement, values=bad >= 0, statistic="fraction", **about)
        values = np.concatenate([run.all("sharpness")[:, 0] for run in members])
        statement = f"{at}: eta lambda_max(P(0)), stable below 2"
        yield report(statement=statement, values=values, statistic="min", **about)


def _samples(family: Sequence[Run]) -> Iterator[Claim]:
    """Claim 1 of the appendix."""
    data, steps = family[0].config.data, family[0].config.opt.num_steps
    statement = (
        f"{data.num_samples} samples or {data.subspace_dimension}: largest difference of a weight in {steps} steps"
    )
    about = {"id": "C1", "figure": "Claim 1", "relation": "<", "bound": 1e-10}
    yield _judged(family, each(lambda run: run.all("weight_gap").max(1)), statement=statement, **about)


def _plateaus(family: Sequence[Run], factor: int, **about: Any) -> Iterator[Claim]:
    """Where the regression error comes to rest, and the drop and rise on the way there."""
    rested = [
        run
        for run in family
        if run.decay > 0
        and run.is_there(run.last("rescaled_time") >= 0.999 * AT_REST)
        and run.config.data.condition_number == 1
    ]
    at = f"x >= {AT_REST:g}, {_settings(rested)}"
    off = each(lambda run: np.abs(run.last("regression_error") / predicted(run, theory.plateau) - 1))
    statement = f"regression error over that of the scalar minimizers, less 1: {at}"
    yield _judged(rested, off, statement=statement, relation="<", bound=0.01, **about)
    wide = [run for run in rested if _is_wide(run)] or rested
    rise = each(lambda run: run.last("regression_error") / run.all("regression_error").min(1))
    yield _judged(
        wide,
        rise,
        statement=f"rise of the regression error from its least value: {at}",
        relation=">",
        bound=1.5,
        outside=_outside(wide),
        **about,
    )
    in_units = each(lambda run: run.last("regression_error") / run.decay)
    statement = f"the plateau is 'about {factor} lambda': it is far below, plateau / ({factor} lambda)"
    share = each(lambda run: run.last("regression_error") / run.decay / factor)
    yield _judged(rested, share, kind="printed", statement=statement, relation="<", bound=4 / factor, **about)
    yield _reported(rested, in_units, statement=f"plateau / lambda, {at}", **about)
    estimate = each(lambda run: predicted(run, theory.plateau_estimate) / predicted(run, theory.plateau) - 1)
    yield _reported(
        rested, estimate, statement="lambda sqrt(mean rho^(-4/L)) over the plateau's formula, less 1", **about
    )


def exact_laws(family: Sequence[Run], **about: Any) -> Iterator[Claim]:
    """The first layer across the inputs, at every observation of every member."""
    law = "(1 - eta_1 lambda)^t W_1(0) P_perp"
    statement = f"||W_1(t) P_perp - {law}||_F over that of the law, x <= {EXACT_UNTIL:g}"
    worst = each(lambda run: np.where(run.all("rescaled_time") <= EXACT_UNTIL, run.all("law_deviation"), 0).max(1))
    yield _judged(family, worst, statement=statement, relation="<", bound=EXACT, **about)
    # A step rounds W_1, not what is left of it across the inputs: the error does not decay as the law does.
    if beyond := [run for run in family if run.last("rescaled_time").max() > 1.01 * EXACT_UNTIL]:
        statement = (
            f"the same at every t, over the larger of {EXACT:g} and eps e^x sqrt(t): t roundings of W_1, a random "
            "walk, against a law that falls as e^-x"
        )
        excess = each(lambda run: (run.all("law_deviation") / _rounding(run)).max(1))
        yield _judged(beyond, excess, statement=statement, relation="<", bound=1.0, **about)
    stable = each(lambda run: run.last("sharpness"))
    yield _reported(family, stable, statement="eta lambda_max(P(0)), stable below 2", statistic="max", **about)


def _hypotheses(family: Sequence[Run], figure: str) -> Iterator[Claim]:
    """Which of Theorem A.2's hypotheses the figures satisfy."""
    if not family:
        return
    about: dict[str, Any] = {"id": "A2", "figure": figure}
    statement = "the figures are 'covered by our theory': RIP fails, delta over the theorem's 1/10"
    isometry = each(lambda run: run.all("isometry")[:, 0] / theory.LARGEST_ISOMETRY)
    yield _judged(
        family, isometry, kind="printed", statement=statement, relation=">", bound=1.0, counts_divergence=True, **about
    )
    regularized = [run for run in family if run.decay > 0]
    share = each(lambda run: run.hypotheses["decay"])
    inside = sum(int(np.all(run.hypotheses["decay"] <= 1)) for run in regularized)
    statement = (
        f"lambda over the theorem's cap L sigma_min^2 / 14000, which {inside} of {len(regularized)} settings keep"
    )
    yield _reported(regularized, share, statement=statement, statistic="max", **about)


def _is_wide(run: Run) -> bool:
    """Networks narrower than the signals are no networks of this paper: what moves slowly in others moves in them."""
    return run.config.net.width >= run.config.data.dimension


def _outside(family: Sequence[Run]) -> str:
    """Why a bound does not apply; empty if it does."""
    return "" if all(map(_is_wide, family)) else "stated for networks as wide as the signals are long"


# Measures: one number per member. -------------------------------------------------------------------------------------


def _across(combine: Callable[[np.ndarray], Any], measure: Measure) -> Callable[[Sequence[Run]], np.ndarray]:
    return lambda family: np.atleast_1d(combine(np.stack([np.asarray(measure(run)) for run in family])))


def _median(run: Run, name: str) -> np.ndarray:
    return np.median(run.all(name), axis=0)


def _slope(run: Run) -> np.ndarray:
    """The slope of the log of the median off-subspace error in the clock."""
    x, errors = _median(run, "rescaled_time"), _median(run, "off_subspace_error")
    chosen = x >= SLOPE_FROM
    return np.asarray(np.polyfit(x[chosen], np.log(errors[chosen]), 1)[0])


def _rounding(run: Run) -> np.ndarray:
    """What t roundings of W_1 leave of the first layer's law, relative to it; never less than the exactness asked."""
    return np.maximum(EXACT, np.finfo(float).eps * np.exp(run.all("rescaled_time")) * np.sqrt(run.steps))


def _ordered(family: Sequence[Run]) -> np.ndarray:
    """Every member's off-subspace error over that of the next shallower network, at common clocks; the largest."""
    grid = np.linspace(*EARLY, 41)
    logs = []
    for run in family:
        members = zip(run.all("rescaled_time"), run.all("off_subspace_error"), strict=True)
        logs.append(np.stack([np.interp(grid, x, np.log(errors)) for x, errors in members]))
    return np.exp(np.concatenate([deep - shallow for deep, shallow in itertools.pairwise(logs)]).max(1))


def predicted(run: Run, formula: Callable[..., Any]) -> np.ndarray:
    """``theory.plateau`` or ``plateau_estimate`` of every member."""
    rho = jnp.asarray(run.data.measured_values.isel(step=0).transpose("seed", "index").values)
    return np.asarray(_of_members(formula, run.config.net.depth)(rho, jnp.asarray(run.decay)))


@ft.cache
def _of_members(formula: Callable[..., Any], depth: int) -> Callable[..., Any]:
    return jax.jit(jax.vmap(lambda rho, decay: formula(rho, weight_decay=decay, depth=depth), in_axes=(0, None)))


def _settings(family: Sequence[Run]) -> str:
    decays = ", ".join(f"{decay:g}" for decay in sorted({run.decay for run in family}))
    return f"L = {_depths(family)}, lambda = {decays}"


def _depths(family: Sequence[Run]) -> str:
    return ", ".join(str(depth) for depth in sorted({run.config.net.depth for run in family}))


def _judged(
    family: Sequence[Run], measure: Callable[[Sequence[Run]], np.ndarray], *, least: int = 1, **about: Any
) -> Claim:
    reason = ONE if 0 < len(family) < least else ""
    return over(family, measure, missing=SHORT, reason=reason, paper=PAPER, **about)


_reported = ft.partial(_judged, kind="report")
