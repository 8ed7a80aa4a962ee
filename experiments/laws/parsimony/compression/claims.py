"""The verdict on Figure 1 of Yaras et al. 2023: same steps, distance as predicted, none once rho is added."""

from typing import Any

import numpy as np
import xarray as xr

from experiments.runner.claims import Claim, judge, not_run, report
from experiments.runner.results import Group

__all__ = ["judged"]


def judged(found: list[Group], paper: str) -> list[Claim]:
    """The claims F1 over all pairs together, their control, and the small networks alone."""
    pairs, control, small = ([g for g in found if g.config.net.kind == kind] for kind in ("pair", "control", "small"))
    verdict = _pairs(pairs, paper) if pairs else []
    if control:
        about = "control: with another draw of Q, ||W_full - W_comp - rho^L (Q - U V^T)||_F / ||Phi||_F at its largest"
        apart = np.concatenate([g.worst("whole_distance") for g in control])
        source = _source(control, paper)
        verdict.append(judge("F1", kind="law", statement=about, values=apart, relation=">", bound=1e-3, **source))
    for group in small:
        about = "steps to the tolerance of the small network alone, its bases drawn without d x d weights"
        verdict.append(report("F1", statement=about, values=_steps(group.data.converged_at), **_source([group], paper)))
    return verdict


def _pairs(pairs: list[Group], paper: str) -> list[Claim]:
    about: dict[str, Any] = {"kind": "law", "relation": "<", **_source(pairs, paper)}
    apart = np.concatenate([g.per_member(abs(g.data.distance / g.data.predicted_distance - 1)) for g in pairs])
    whole = np.concatenate([g.worst("whole_distance") for g in pairs])
    equal = "||W_full - W_comp||_F = eps^L sqrt(d - 2r) to three digits at every step seen: relative error"
    added = "||W_full - W_comp - rho^L (Q - U V^T)||_F / ||Phi||_F at every step seen"
    return [
        _same_steps(pairs, paper),
        judge("F1", statement=equal, values=apart, bound=1e-3, **about),
        judge("F1", statement=added, values=whole, bound=1e-11, **about),
    ]


def _same_steps(pairs: list[Group], paper: str) -> Claim:
    """Of the pairs that were given the steps to reach the tolerance; a member that did not is no number and fails."""
    about = "the d x d and the small network take the same number of steps to the tolerance: difference"
    ended = [g for g in pairs if g.data.converged_at.max() >= 0]
    if not ended:
        reason = "no pair was given the steps to reach it"
        return not_run("F1", kind="law", paper=paper, figure="Figure 1", statement=about, reason=reason)
    apart = [abs(_steps(g.data.reduced_done.isel(step=-1)) - _steps(g.data.converged_at)) for g in ended]
    values = np.concatenate(apart)
    return judge("F1", kind="law", statement=about, values=values, relation="==", bound=0, **_source(ended, paper))


def _source(family: list[Group], paper: str) -> dict[str, Any]:
    sizes = sorted({(g.config.net.width, g.config.data.rank) for g in family})
    where = "; ".join(f"d = {width}, r = {rank}" for width, rank in sizes)
    where += "".join(f"; unfolded at step {skip}" for skip in sorted({g.config.net.skip for g in family} - {0}))
    return {"paper": paper, "figure": f"Figure 1, {where}", "diverged": sum(g.diverged for g in family)}


def _steps(converged_at: xr.DataArray) -> np.ndarray:
    """Steps to the tolerance, NaN for members that did not reach it."""
    return np.where(converged_at >= 0, converged_at, np.nan).ravel()
