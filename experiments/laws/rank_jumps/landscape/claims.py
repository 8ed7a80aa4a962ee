"""The claims of the theory of rank jumps (Wang and Jacot 2024): minima and their ends, B_r, Theorem B.2's bound."""

import functools as ft
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.laws.rank_jumps.landscape.figures import (
    known_minima,
    last_offdiagonal,
    last_ridge,
    minimum,
    ratio,
    singular_values,
)
from experiments.runner.claims import Claim, judge, not_run, report
from experiments.runner.results import Group, groups
from lawlib.theory import rank_jumps as theory
from lawlib.types import Scalar

__all__ = ["STUDIES", "claims", "constants_of"]

Number = Scalar | float
PAPER = "Wang and Jacot 2024"
STUDIES = ("fold", "factors", "matrix", "end", "avoid", "budget", "region", "jumps")
# The largest observed entry of A*, whose square is C_1.
LARGEST_ENTRY = 1.0
# s_2/s_1 of a matrix of rank 1, and of a member that has jumped.
RANK_ONE, JUMPED = 1e-6, 1e-2
FIGURES_OFFDIAGONALS = (0.05, 0.1, 0.2, 0.25)
LOW, LAST_OF_FIGURE_3 = 0.001, 4000
# What is said of the exact curves and constants alone is as true where a member of the run diverges.
OF_NO_MEMBER: dict[str, Any] = {"diverged": 0}


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on every study of the config."""
    by_study: dict[str, list[Group]] = {study: [] for study in STUDIES}
    for group in groups(results):
        by_study[group.config.study].append(group)
    judged: dict[str, Callable[[Group], Iterator[Claim]]] = {
        "fold": _fold,
        "end": _end,
        "avoid": _avoid,
        "budget": _budget,
        "region": _region,
        "jumps": _jumps,
    }
    found = [
        claim for study, judge_study in judged.items() for group in by_study[study] for claim in judge_study(group)
    ]
    return found + [claim for group in by_study["factors"] for claim in _minima(group, by_study["matrix"])]


def constants_of(config: ConfigDict, decay: Number, norm_times: Number) -> tuple[Scalar, theory.Constants]:
    """C = norm_times its least value, admitted or not, and Theorem B.1's constants; decay in the theorem's units."""
    sizes = (int(config.net.depth), int(config.region.rank), int(config.net.width))
    return _constants(*sizes)(decay, norm_times, float(config.region.slack))


@ft.cache
def _constants(depth: int, rank: int, width: int) -> Callable[..., tuple[Scalar, theory.Constants]]:
    @jax.jit
    def constants(decay: Scalar, norm_times: Scalar, slack: Scalar) -> tuple[Scalar, theory.Constants]:
        norm = norm_times * theory.smallest_norm_bound(decay, LARGEST_ENTRY)
        numbers = {"weight_decay": decay, "largest_entry": LARGEST_ENTRY, "norm_bound": norm, "slack": slack}
        return norm, theory.absorbing_constants(depth=depth, rank=rank, width=width, **numbers)

    return constants


# Where the rank-2 minimum ends. ---------------------------------------------------------------------------------------


def _fold(group: Group) -> Iterator[Claim]:
    config, name = group.config, f"L = {group.config.net.depth}"
    ridge, depth = config.opt.weight_decay / 4, config.net.depth
    about: dict[str, Any] = {"id": f"fold L={depth}", "figure": "Section 3.1, landscape"}
    about |= {"paper": PAPER, "diverged": group.diverged}
    offdiagonals, last = group.data.offdiagonal.values, last_offdiagonal(ridge, depth)
    ended = np.where(group.data.converged_at.values >= 0, ratio(_last(group)), np.nan)
    below = offdiagonals < last
    if below.any():
        predicted = np.array([minimum(eps, ridge, depth, 2).singular_values for eps in offdiagonals[below]])
        off = np.abs(ended[:, below] / (predicted[:, 1] / predicted[:, 0]) - 1)
        statement = f"{name}: eps < {last:.4g}: GD ends at the rank-2 minimum, s_2/s_1 off its exact value by"
        yield judge(kind="law", statement=statement, values=off, relation="<", bound=1e-4, **about)
    if not below.all():
        statement = f"{name}: eps > {last:.4g}, where there is no rank-2 minimum: GD ends at rank 1, s_2/s_1"
        yield judge(kind="law", statement=statement, values=ended[:, ~below], relation="<", bound=RANK_ONE, **about)
    statement = (
        f"{name}: eps at which GD starts to end at rank 1 (middle of its bracket) over the exact {last:.5g}, |. - 1|"
    )
    brackets = np.array([_bracket(offdiagonals, row) for row in ended])
    if np.ptp(brackets, axis=1).max() > 0.05 * last:
        reason = "this profile's eps are too far apart"
        yield not_run(
            kind="law", statement=statement, reason=reason, **{k: about[k] for k in ("id", "figure", "paper")}
        )
    else:
        off = np.abs(brackets.mean(1) / last - 1)
        yield judge(kind="law", statement=statement, values=off, relation="<", bound=0.02, **about)
    named = {3: 0.26, 4: 0.11}.get(depth)
    if named and config.opt.weight_decay == 0.1:
        statement = (
            f"{name}: last eps of a rank-2 minimum at lambda = .1: from {named:g} on, Fig. 3's successes are drift"
        )
        yield judge(kind="law", statement=statement, values=[last], relation="<", bound=named, **about | OF_NO_MEMBER)
    yield from _of_the_ridges(depth, **about)
    balance = group.data.imbalance.isel(step=-1).values
    statement = f"{name}: GD ends balanced, ||W_(l+1)^T W_(l+1) - W_l W_l^T||_F (Prop. A.1)"
    yield judge(kind="law", statement=statement, values=balance.max(-1), relation="<", bound=1e-9, **about)


def _of_the_ridges(depth: int, **about: Any) -> Iterator[Claim]:
    """What the exact curves say of the ridges that the paper prints."""
    about |= {"kind": "printed", "figure": "Section 4"} | OF_NO_MEMBER
    last = [last_ridge(eps, depth, 2) for eps in FIGURES_OFFDIAGONALS]
    statement = f"L = {depth}: 'three local minima' at the printed lambda = .1: largest lambda (main text) with rank 2"
    yield judge(statement=f"{statement}, eps = .05 to .25", values=last, relation="<", bound=0.1, **about)
    gaps = []
    for eps in FIGURES_OFFDIAGONALS:
        values = [_value(minimum(eps, LOW / 4, depth, rank).matrix, eps, LOW / 4, depth) for rank in (1, 2)]
        gaps.append(values[0] / values[1])
    statement = (
        f"L = {depth}, lambda = .001: the recovered rank-1 minimum is not the global one: its C_lambda over rank 2's"
    )
    yield judge(statement=statement, values=gaps, relation=">", bound=1.0, **about)


def _bracket(offdiagonals: np.ndarray, ratios: np.ndarray) -> tuple[float, float]:
    """The largest eps below every end at rank 1, and the smallest of those ends."""
    first = np.argmax(ratios < RANK_ONE)
    return (offdiagonals[first - 1], offdiagonals[first]) if first else (-np.inf, np.inf)


# The minima. ----------------------------------------------------------------------------------------------------------


def _minima(factors: Group, matrices: list[Group]) -> Iterator[Claim]:
    """Theorem 3.1 on both sides: every end is one of four matrices, and both searches find all four."""
    depth = factors.config.net.depth
    about: dict[str, Any] = {"id": f"T3.1 L={depth}", "figure": "Theorem 3.1", "paper": PAPER}
    matrices = [group for group in matrices if group.config.net.depth == depth]
    eps, ridge = factors.config.data.offdiagonal, factors.config.opt.weight_decay / 4
    setting = f"L = {depth}, eps = {eps:g}, lambda = {factors.config.opt.weight_decay:g}"
    known = known_minima(eps, ridge, depth)
    found = []
    for side, name in (([factors], "L_lambda over factors"), (matrices, "C_lambda over matrices")):
        about["diverged"] = sum(group.diverged for group in side)
        done = np.concatenate([(group.data.converged_at >= 0).values.ravel() for group in side])
        ends = np.concatenate([_last(group).reshape(-1, 2, 2) for group in side])
        distance = np.abs(ends[:, None] - np.stack(list(known.values()))).max((-2, -1))
        values = np.where(done, distance.min(-1), np.nan)
        statement = f"{setting}: every descent on {name} ends at one of the exact minima, within"
        yield judge(kind="law", statement=statement, values=values, relation="<", bound=1e-6, **about)
        found.append({list(known)[kind] for kind in distance.argmin(-1)[done]})
    statement = f"{setting}: local minima that both find ({', '.join(k for k in known if k in found[0] & found[1])})"
    yield judge(kind="law", statement=statement, values=[len(found[0] & found[1])], relation="==", bound=4, **about)
    about["diverged"] = factors.diverged
    statement = f"{setting}: 'three local minima': found, the fourth of rank 1 with A_01 < 0"
    yield judge(kind="printed", statement=statement, values=[len(found[0] | found[1])], relation=">", bound=3, **about)
    statement = f"{setting}: smallest eigenvalue of the Hessian of L_lambda at the ends"
    curvature = factors.data.curvature.isel(step=-1).values
    yield judge(kind="law", statement=statement, values=curvature, relation=">", bound=-1e-8, **about)
    value = factors.data.value.isel(step=-1).values
    costs = [_value(A, eps, ridge, depth) for A in _last(factors).reshape(-1, 2, 2)]
    statement = f"{setting}: L_lambda(theta) - C_lambda(A_theta) at the ends, |.|"
    off = np.abs(value.ravel() - costs)
    yield judge(kind="law", statement=statement, values=off, relation="<", bound=1e-9, **about)
    statement = f"{setting}: C_lambda nearby less its value at the ends"
    rise = np.concatenate([group.data.rise.isel(step=-1).values.ravel() for group in matrices])
    about["diverged"] = sum(group.diverged for group in matrices)
    yield judge(kind="law", statement=statement, values=rise, relation=">", bound=0.0, **about)


# Large and small ridges. ----------------------------------------------------------------------------------------------


def _end(group: Group) -> Iterator[Claim]:
    """Proposition 3.1: the rank-1 minimum under a growing ridge."""
    depth, eps = group.config.net.depth, group.config.data.offdiagonal
    about: dict[str, Any] = {
        "id": f"P3.1 L={depth}",
        "figure": "Proposition 3.1",
        "paper": PAPER,
        "diverged": group.diverged,
    }
    decays, last = group.data.weight_decay.values, 4 * last_ridge(eps, depth, 1)
    ended = np.where((group.data.converged_at >= 0).values[..., None], singular_values(_last(group)), np.nan)
    below = decays < last
    predicted = np.array([minimum(eps, decay / 4, depth, 1).singular_values[0] for decay in decays[below]])
    setting = f"L = {depth}, eps = {eps:g}"
    statement = f"{setting}: lambda < {last:.4g}: GD from beside the rank-1 minimum ends at it, s_1 off by"
    off = np.abs(ended[:, below, 0] / predicted - 1)
    yield judge(kind="law", statement=statement, values=off, relation="<", bound=1e-4, **about)
    statement = f"{setting}: 'for all lambda': beyond {last:.4g} GD from the rank-1 minimum ends at 0, s_1"
    yield judge(kind="printed", statement=statement, values=ended[:, ~below, 0], relation="<", bound=RANK_ONE, **about)


def _avoid(group: Group) -> Iterator[Claim]:
    """Proposition 3.2: s_1 stays away from 0 from when the loss is below half of what rank 0 leaves."""
    eps, depth = group.config.data.offdiagonal, group.config.net.depth
    about: dict[str, Any] = {"id": "P3.2", "figure": "Proposition 3.2", "paper": PAPER, "diverged": group.diverged}
    largest = singular_values(group.data["product"].transpose("seed", "weight_decay", "step", ...).values)[..., 0]
    loss = group.data.loss.transpose("seed", "weight_decay", "step").values
    settled = np.logical_or.accumulate(loss < (2 + eps**2) / 3 / 2, axis=-1)
    smallest = np.where(settled.any(-1), np.where(settled, largest, np.inf).min(-1), 0)
    decays = group.data.weight_decay.values
    small = decays <= 0.1
    # With half of the squared error gone ||P A|| >= (1 - 1/sqrt 2) ||P A*|| on what is observed; s_1 >= ||A||/sqrt 2.
    least = (1 - 0.5**0.5) * ((2 + eps**2) / 2) ** 0.5
    statement = f"L = {depth}, lambda = {', '.join(f'{d:g}' for d in decays[small])}: s_1 of A from t_0 on"
    yield judge(kind="law", statement=statement, values=smallest[:, small], relation=">", bound=least, **about)
    last = 4 * last_ridge(eps, depth, 1)
    large = decays > last
    if large.any():
        statement = (
            f"L = {depth}, lambda = {decays[large][0]:g} > {last:.3g}, where 0 is all that is left: s_1 at the end"
        )
        yield judge(
            kind="law", statement=statement, values=largest[:, large, -1], relation="<", bound=RANK_ONE, **about
        )


def _budget(group: Group) -> Iterator[Claim]:
    """Figure 3 without noise: what has failed after its 4000 steps is not at a minimum."""
    depth, num_steps = group.config.net.depth, group.config.opt.num_steps
    about: dict[str, Any] = {"id": "F3", "figure": "Fig. 3", "paper": PAPER, "diverged": group.diverged}
    fill = group.data["product"].transpose("seed", "offdiagonal", "step", ...).values[..., 0, 1]
    offdiagonals, steps = group.data.offdiagonal.values, group.data.step.values
    errors = np.square(1 - offdiagonals[None, :, None] * fill)
    at = min(np.searchsorted(steps, LAST_OF_FIGURE_3), len(steps) - 1)
    for index, eps in enumerate(offdiagonals):
        statement = f"L = {depth}, eps = {eps:g}, lambda = .001, no noise: relative test error after {steps[at]} steps"
        yield report(statement=statement, values=errors[:, index, at], **about)
    about |= {"kind": "printed"}
    setting = f"eps = {', '.join(f'{eps:g}' for eps in offdiagonals)}"
    statement = f"L = {depth}, {setting}: 'fails' is the step budget: relative test error after {num_steps} steps"
    outside = f"stated for {10 * LAST_OF_FIGURE_3} steps" if num_steps < 10 * LAST_OF_FIGURE_3 else ""
    yield judge(statement=statement, values=errors[..., -1], relation="<", bound=0.01, outside=outside, **about)
    last = [last_ridge(eps, depth, 2) for eps in offdiagonals]
    statement = f"L = {depth}, {setting}: no lambda has a rank-2 minimum: the largest that has one"
    yield judge(statement=statement, values=last, relation="<=", bound=0.0, **about | OF_NO_MEMBER)


# The sets B_r and the bound. ------------------------------------------------------------------------------------------


def _region(group: Group) -> Iterator[Claim]:
    config, depth = group.config, group.config.net.depth
    about: dict[str, Any] = {
        "id": f"B.1 L={depth}",
        "figure": "Theorem B.1",
        "paper": PAPER,
        "diverged": group.diverged,
    }
    for times, values in zip(
        group.data.norm_times.values.tolist(), _of_each(group, "leaving", "norm_times"), strict=True
    ):
        leaving = values.reshape(-1, 3)
        if times < 1:
            named: dict[str, Any] = about | {"id": "D.4", "figure": "Theorem D.4", "kind": "printed"}
            statement = f"L = {depth}, 'C <= 1/(2 lambda)': at C = {times:g}/(2 lambda)"
            statement += " the smallest eta that leaves, over the admissible"
            yield judge(statement=statement, values=leaving[:, 0].min(), relation="<=", bound=0.0, **named)
        else:
            yield from _closed(config, leaving, times, about)
    slope = _exponent(config)
    printed = 4 * depth + 1 + (depth + 1) / (depth - 2)
    statement = f"L = {depth}: 'eta ~ lambda^{printed:g}' is not that of Theorem B.1's constants, whose power is"
    about |= {"kind": "printed", "figure": "Section 3.2"} | OF_NO_MEMBER
    yield judge(statement=statement, values=[slope], relation=">", bound=printed + 1, **about)
    statement = f"L = {depth}: 'for any lambda >= 0': the admissible eta vanishes with lambda: log10 at lambda = 1e-6"
    (_, tiny) = constants_of(config, 1e-6, 1.0)
    value = float(tiny.log_step_sizes.min()) / math.log(10)
    yield judge(statement=statement, values=[value], relation="<", bound=-50.0, **about)


def _closed(config: ConfigDict, leaving: np.ndarray, times: float, about: dict[str, Any]) -> Iterator[Claim]:
    """That no admissible step leaves B_1, and how much larger one that does is."""
    decay = config.opt.weight_decay / 2
    norm, constants = constants_of(config, decay, times)
    log10 = np.log10(np.e) * np.array([constants.log_cutoff, constants.log_imbalance, constants.log_step_sizes.min()])
    size = f"L = {config.net.depth}, n = {config.net.width}, lambda = {decay:g}, C = {float(norm):g}"
    statement = (
        f"{size}: no step of the admissible eta (1e{log10[2]:.1f}) leaves B_1 from points that attain its bounds"
    )
    statement += " (150 digits in the tests): smallest eta that leaves, over it"
    yield judge(kind="law", statement=statement, values=leaving.min(1), relation=">=", bound=1.0, **about)
    for index, bound in enumerate(("||W_l||_F^2 = C", f"imbalance eps_1 = 1e{log10[1]:.1f}", "soft rank r + eps_2")):
        statement = f"{size}: smallest eta that leaves by {bound}, over the admissible"
        yield report(statement=statement, values=leaving[:, index], statistic="min", **about)


def _exponent(config: ConfigDict) -> float:
    """The power d log eta / d log lambda of the admissible step, C = C_1/(2 lambda), as lambda goes to 0."""
    logs = [float(constants_of(config, decay, 1.0)[1].log_step_sizes.min()) for decay in (1e-8, 1e-6)]
    return (logs[1] - logs[0]) / math.log(100)


def _jumps(group: Group) -> Iterator[Claim]:
    """The frequency of jumps beside the bound, which is no use as an estimate."""
    config = group.config
    about: dict[str, Any] = {"id": "B.2", "figure": "Theorem B.2", "paper": PAPER, "diverged": group.diverged}
    bound, admissible = (_bound(config, eta) for eta in (2 * config.opt.step_size, None))
    total = float(bound.settling_steps + bound.sampling_steps)
    log10 = 1 / math.log(10)
    setting = f"L = {config.net.depth}, eps = {config.data.offdiagonal:g}, eta = {config.opt.step_size:g}, lambda = .1"
    statement = f"{setting}: log10 of the least P (T_0 = {bound.settling_steps:.0f}, T_1 = {bound.sampling_steps:.0f})"
    value = float(bound.log_probability) * log10
    yield report(statement=f"{statement}, the step's own bounds aside", values=[value], **about | OF_NO_MEMBER)
    statement = f"{setting}: members with s_2/s_1 < .01 after T_0 + T_1 = {total:.0f} steps"
    at = np.searchsorted(group.data.step.values, total)
    if at == len(group.data.step):
        names = {name: about[name] for name in ("id", "figure", "paper")}
        yield not_run(kind="report", statement=statement, reason="this profile stops before", **names)
    else:
        jumped = ratio(group.data["product"].isel(step=int(at)).values) < JUMPED
        yield report(statement=statement, values=jumped, statistic="fraction", **about)
    statement = f"{setting}: log10 of -log10 of the least P at Theorem B.1's largest step"
    value = float(jnp.log(-admissible.log_probability * log10)) * log10
    yield report(statement=statement, values=[value], **about | OF_NO_MEMBER)


def _bound(config: ConfigDict, step_size: float | None) -> theory.JumpBound:
    """Theorem B.2 at the config's width and decay; step_size None is the largest that Theorem B.1 admits."""
    decay = config.opt.weight_decay / 2
    # Theorem B.2 asks for twice Theorem B.1's C.
    norm, constants = constants_of(config, decay, 2.0)
    return theory.jump_bound(
        step_size=step_size or jnp.exp(constants.log_step_sizes.min()),
        weight_decay=decay,
        rank=int(config.region.rank),
        width=int(config.net.width),
        smallest_side=2,
        norm_bound=norm,
        # The mean of ||W_2(0)||_F^2 of a square layer with entries U(-1, 1)/sqrt(n).
        start_norm=config.net.width / 3,
        slack=config.region.slack,
        log_cutoff=constants.log_cutoff,
        log_imbalance=constants.log_imbalance,
    )


# Exact minima, and ends. ----------------------------------------------------------------------------------------------


def _value(A: Any, eps: float, ridge: float, depth: int) -> float:
    """C_lambda(A), by numpy; NaN where A is not finite."""
    if not np.isfinite(A).all():
        return math.nan
    data = (A[0, 0] - 1) ** 2 + (A[1, 0] - eps) ** 2 + (A[1, 1] - 1) ** 2
    # Rounding of a rank would cost s^(2/L) of it.
    s = np.linalg.svd(np.asarray(A), compute_uv=False)
    kept = s[s > 1e-13 * max(s[0], 1e-300)] if s[0] > 1e-12 else s[:0]
    return float(data / 6 + ridge * depth * np.sum(kept ** (2 / depth)))


def _of_each(group: Group, name: str, hyperparameter: str) -> np.ndarray:
    """A variable with the values of a hyperparameter first."""
    return group.data[name].transpose(hyperparameter, ...).values


def _last(group: Group) -> np.ndarray:
    """A at the end, shape (seed, hyperparameters, 2, 2)."""
    return group.data["product"].isel(step=-1).values
