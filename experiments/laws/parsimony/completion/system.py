"""Deep matrix completion (Yaras et al. 2023, Section 4.1): what depth, width and compression do to recovery and speed.

Every network starts small, from eps-orthogonal weights, and descends on the observed entries of a low-rank matrix until
a tolerance on their mean loss. Networks of one seed share target, mask and, where they have it, W(0).
"""

import functools as ft
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.laws.parsimony.completion.figures import figures, final_recovery, steps_to_tolerance
from experiments.runner.checks import Checks
from experiments.runner.claims import Claim, each, over, report
from experiments.runner.fields import leaves, swept
from experiments.runner.hyperparameters import value_of
from experiments.runner.results import Group, Variable, groups
from lawlib.completion import solver
from lawlib.completion.solver import Factors
from lawlib.compress import bases_of
from lawlib.descent.steps import Iterate, evaluated, masked_mean_squared_error, masked_sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, until
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import low_rank_target, observation_mask
from lawlib.types import Array, Matrix, PRNGKey, PyTree, Scalar

__all__ = ["VARIABLES", "claims", "dynamics", "figures", "shared", "validate"]

STUDIES = ("depth_width", "compressed", "gamma")
KINDS = ("full", "narrow", "compressed")
PAPER = "Yaras et al. 2023"

VARIABLES = {
    "loss": Variable(
        (), "1", "1/2 mean (Omega . (W_{L:1} - Phi))^2 over all d^2 entries, masked ones as zeros", f"{PAPER}, eq. 9"
    ),
    "recovery_error": Variable(
        (), "1", "1/2 mean ((1 - Omega) . (W_{L:1} - Phi))^2 over all d^2 entries, observed ones as zeros"
    ),
    "projection": Variable(
        ("left", "right"), "1", "U_Phi^T W_{L:1} V_Phi, the end-to-end matrix in the target's own singular bases"
    ),
}


class Problem(NamedTuple):
    """What one member draws once: the matrix, what is seen of it, its r singular vectors, its own step sizes."""

    target: Matrix
    mask: Matrix
    left: Matrix
    right: Matrix
    step_size: PyTree


def validate(checks: Checks) -> None:
    """The fields that this experiment reads, and what it asks of them."""
    checks.choice("precision", ("float64",))
    checks.choice("study", STUDIES)
    checks.choice("net.kind", KINDS)
    checks.integer("net.depth", at_least=2)
    checks.integer("net.width", at_least=1)
    checks.integer("net.rank", at_least=1)
    checks.number("net.scale", above=0.0)
    checks.number("opt.step_size", above=0.0)
    checks.number("opt.discrepancy", at_least=0.0)
    checks.number("opt.tolerance", at_least=0.0)
    checks.integer("data.size", at_least=2)
    checks.integer("data.rank", at_least=1)
    checks.number("data.observed", above=0.0, at_most=1.0)
    checks.sweeps("net.scale", "opt.step_size", "opt.discrepancy")
    net, data = checks.config.net, checks.config.data
    checks.require("data.rank", data.rank < data.size, f"must be below data.size = {data.size}")
    if net.kind == "compressed":
        checks.require("net.rank", 2 * net.rank < data.size, f"must be below data.size / 2 = {data.size / 2:g}")
    else:
        rule = f"cannot be swept for net.kind = {net.kind!r}, which has one step size"
        checks.require("sweep.opt.discrepancy", "opt.discrepancy" not in swept(checks.config), rule)


def shared(config: ConfigDict) -> tuple:
    """Nothing: every member draws its own matrix."""
    return ()


def dynamics(config: ConfigDict) -> Dynamics:
    """A network under gradient descent on the observed entries, until its mean loss is at the tolerance."""
    descent = evaluated(_loss)

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Iterate]:
        problem, weights = _draw(config, key, hyperparameters)
        return problem, descent.init(weights, problem.target, problem.mask)

    def step(iterate: Iterate, problem: Problem, shared: tuple) -> Iterate:
        rates = {"step_size": problem.step_size, "weight_decay": 0.0}
        return descent.step(iterate, problem.target, problem.mask, **rates)

    def observe(iterate: Iterate, problem: Problem, shared: tuple) -> dict[str, Array]:
        product = _product(iterate.weights)
        return {
            "loss": iterate.memory.loss / problem.target.size,
            "recovery_error": masked_mean_squared_error(product, problem.target, 1 - problem.mask),
            "projection": problem.left.T @ product @ problem.right,
        }

    def done(iterate: Iterate, problem: Problem, shared: tuple) -> Array:
        return iterate.memory.loss / problem.target.size <= config.opt.tolerance

    return until(Dynamics(init, step, observe), done)


def _draw(config: ConfigDict, key: PRNGKey, hyperparameters: Hyperparameters) -> tuple[Problem, PyTree]:
    """The problem of this seed and the weights to start from."""
    data, dtype = config.data, jnp.dtype(config.precision)
    key_target, key_mask, key_weights = jax.random.split(key, 3)
    target = low_rank_target(key_target, (data.size, data.size), data.rank, dtype)
    mask = observation_mask(key_mask, target.shape, data.observed, dtype)
    weights, step_size = (
        _start(config, key_weights, hyperparameters, mask * target),
        value_of(config, hyperparameters, "opt.step_size"),
    )
    if isinstance(weights, Factors):
        outer = value_of(config, hyperparameters, "opt.discrepancy") * step_size
        step_size = Factors(outer, step_size, outer)
    return Problem(target, mask, *_leading_bases(target, data.rank), step_size), weights


def _start(config: ConfigDict, key: PRNGKey, hyperparameters: Hyperparameters, observed: Matrix) -> PyTree:
    """(W_1, ..., W_L) of width d_h between d inputs and d outputs, or the compressed network of a square one."""
    net, size, scale = config.net, config.data.size, value_of(config, hyperparameters, "net.scale")
    hidden = {"full": net.width, "narrow": 2 * net.rank, "compressed": size}[net.kind]
    weights = orthogonal_weights(key, (size, *[hidden] * (net.depth - 1), size), scale, observed.dtype)
    if net.kind != "compressed":
        return weights
    bases = bases_of(weights, *_leading_bases(observed, net.rank))
    return solver.start(bases, depth=net.depth, scale=scale)


def _leading_bases(matrix: Matrix, rank: int) -> tuple[Matrix, Matrix]:
    """Orthonormal bases of the leading left and right singular subspaces."""
    left, _, right = jnp.linalg.svd(matrix, full_matrices=False)
    return left[:, :rank], right[:rank].T


def _product(weights: PyTree) -> Matrix:
    return solver.product(weights) if isinstance(weights, Factors) else end_to_end(weights)


def _loss(weights: PyTree, target: Matrix, mask: Matrix) -> Scalar:
    """The sum over the observed entries (eq. 9), which the step sizes are for; the tolerance is for the mean."""
    return masked_sum_squared_error(_product(weights), target, mask)


# The settings that the bounds were stated for; Figures 5 and 6 at this size of the matrix or a larger one.
FIGURE_4 = {"data.size": 100, "data.rank": 10, "data.observed": 0.3, "net.scale": 1e-3, "opt.tolerance": 1e-10}
FIGURES_5_6 = {"data.rank": 5, "data.observed": 0.2, "net.depth": 3, "net.scale": 1e-3, "opt.tolerance": 1e-10}
LEAST_SIZE = 300
GAMMA, NO_GAMMA, FULL_GAMMA = 0.01, 0.0, 1.0
RECOVERED = 1e-6


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the figure that the config is for."""
    found = groups(results)
    judged = {"depth_width": _depth_and_width, "compressed": _compression, "gamma": _discrepancy}
    return list(judged[found[0].config.study](found))


def _depth_and_width(found: list[Group]) -> Iterator[Claim]:
    """Figure 4: depth keeps a wide network from overfitting, and width makes it faster."""
    deep = {g.config.net.width: g for g in found if g.config.net.depth == 3}
    shallow = [g for g in found if g.config.net.depth == 2 and g.config.net.width >= 20]
    narrowest, widest = deep.get(10), deep.get(100)
    printed = all(_is_set(g, FIGURE_4) for g in found)
    about: dict[str, Any] = {"kind": "law", "paper": PAPER, "figure": "Fig. 4"}
    widths = ", ".join(map(str, sorted(deep)))
    recovered = f"L = 3 recovers the matrix at every width ({widths}): recovery error (mean) at the end"
    overfits = "L = 2 of width 20 and more overfits: recovery error (mean) at the end"
    faster = "L = 3: steps to the tolerance at width 100 / at width 10 (capped there: an upper bound)"
    stated = "stated for d = 100, r = 10, 30% observed, eps = 1e-3, L = 2 and 3, widths 10 and 100"
    ends = [g for g in (narrowest, widest) if g is not None]
    about |= {"missing": stated, "outside": "" if printed and shallow and len(ends) == 2 else stated}
    errors = each(final_recovery)
    yield over(
        list(deep.values()), errors, id="F4 recovery", statement=recovered, relation="<", bound=RECOVERED, **about
    )
    yield over(shallow, errors, id="F4 overfitting", statement=overfits, relation=">", bound=1e-4, **about)

    def ratios(pair: Sequence[Group]) -> np.ndarray:
        return steps_to_tolerance(pair[1], capped=np.inf) / steps_to_tolerance(pair[0])

    pair = ends if len(ends) == 2 else []
    yield over(pair, ratios, id="F4 width", statement=faster, relation="<", bound=0.6, **about)


def _compression(found: list[Group]) -> Iterator[Claim]:
    """Figure 5: the compressed network is faster than a narrow one of the same width, whatever r^."""
    narrow, compressed = ({g.config.net.rank: g for g in found if g.config.net.kind == kind} for kind in KINDS[1:])
    ranks = sorted(narrow.keys() & compressed.keys())
    about: dict[str, Any] = {"kind": "law", "paper": PAPER, "figure": "Fig. 5"}
    at = f"r^ = {', '.join(map(str, ranks))}"
    faster = f"steps to the tolerance, narrow / compressed, at every {at} (a capped narrow net: a lower bound)"
    steady = f"the compressed network's steps vary little with {at}: (most - fewest) / fewest, seed by seed"
    about |= {"missing": _OTHER_SETTING, "outside": "" if _is_printed(found) and len(ranks) > 1 else _OTHER_SETTING}
    quick, slow = ([family[rank] for rank in ranks] for family in (compressed, narrow))

    def steps(family: Sequence[Group], cap: float | None = np.inf) -> np.ndarray:
        return np.stack([steps_to_tolerance(g, capped=cap) for g in family])

    def ratios(_: Sequence[Group]) -> np.ndarray:
        return steps(slow, None) / steps(quick)

    def spread(family: Sequence[Group]) -> np.ndarray:
        fewest = steps(family).min(axis=0)
        return (steps(family).max(axis=0) - fewest) / fewest

    yield over([*quick, *slow], ratios, id="F5 ratio", statement=faster, relation=">", bound=1.5, **about)
    several = quick if len(ranks) > 1 else []
    yield over(several, spread, id="F5 spread", statement=steady, relation="<", bound=0.05, **about)
    if not ranks:
        return
    capped = [np.mean(narrow[rank].data.converged_at < 0) for rank in ranks]
    statement = f"share of the narrow networks stopped at the cap of {found[0].config.opt.num_steps} steps, {at}"
    yield report("F5 capped", paper=PAPER, figure="Fig. 5", statement=statement, values=capped, statistic="mean")


def _discrepancy(found: list[Group]) -> Iterator[Claim]:
    """Figure 6: a little motion of the outer factors is needed, and as much as the core's is too much."""
    compressed = next((g for g in found if g.config.net.kind == "compressed"), None)
    full = next((g for g in found if g.config.net.kind == "full"), None)
    about: dict[str, Any] = {"kind": "law", "paper": PAPER, "figure": "Fig. 6"}
    needed = "outer factors at rest do not recover: final recovery error, gamma = 0 / gamma = .01"
    recovered = "gamma = .01 recovers the matrix: recovery error (mean) at the end"
    diverges = "gamma = 1 diverges: share of its members that met a value not finite"
    swept = compressed if compressed is not None and _sweeps_gamma(compressed) else None
    slow, still, fast = (None if swept is None else _at(swept, g) for g in (GAMMA, NO_GAMMA, FULL_GAMMA))
    about |= {"missing": _OTHER_SETTING, "outside": "" if _is_printed(found) else _OTHER_SETTING}

    def judged(id: str, statement: str, family: Sequence[Group | None], measure: Any, **verdict: Any) -> Claim:
        return over(family if swept else [], measure, id=f"F6 {id}", statement=statement, **verdict, **about)

    yield judged(
        "ratio",
        needed,
        [still, slow],
        lambda pair: final_recovery(pair[0]) / final_recovery(pair[1]),
        relation=">",
        bound=1e4,
    )
    yield judged("recovery", recovered, [slow], each(final_recovery), relation="<", bound=RECOVERED)
    counted = {"relation": "==", "bound": 1.0, "statistic": "fraction", "counts_divergence": True}
    yield judged("divergence", diverges, [fast], each(lambda g: g.data.diverged_at >= 0), **counted)
    if full is not None and slow is not None:
        yield from _against_full(full, slow)


def _against_full(full: Group, compressed: Group) -> Iterator[Claim]:
    """End points of the compressed network (gamma = .01) beside those of the network it stands for, seed by seed."""
    seeds = min(full.config.num_seeds, compressed.config.num_seeds)
    full, compressed = (g._replace(data=g.data.isel(seed=slice(seeds))) for g in (full, compressed))
    about: dict[str, Any] = {"paper": PAPER, "figure": "Fig. 6", "diverged": full.diverged + compressed.diverged}
    # A member that did not reach the tolerance has no number of steps.
    measures = {
        "F6 end point": ("final recovery error", final_recovery),
        "F6 steps": ("steps to the tolerance", ft.partial(steps_to_tolerance, capped=np.nan)),
    }
    for id, (name, measure) in measures.items():
        ratios = measure(compressed) / measure(full)
        statement = f"{name}, compressed (gamma = .01) / original network, seeds 0 to {seeds - 1}"
        yield report(id, statement=statement, values=ratios, **about)


_OTHER_SETTING = f"stated for r = 5, 20% observed, L = 3, eps = 1e-3, d of {LEAST_SIZE} or more and all its networks"


def _is_printed(found: list[Group]) -> bool:
    return all(_is_set(group, FIGURES_5_6) and group.config.data.size >= LEAST_SIZE for group in found)


def _is_set(group: Group, setting: dict[str, Any]) -> bool:
    fields = leaves(group.config)
    return all(fields[name] == value for name, value in setting.items())


def _sweeps_gamma(group: Group) -> bool:
    values = group.data.discrepancy.values.tolist() if "discrepancy" in group.hyperparameters else []
    return {GAMMA, NO_GAMMA, FULL_GAMMA} <= set(values)


def _at(group: Group, gamma: float) -> Group:
    """The members of one gamma."""
    return group._replace(data=group.data.sel(discrepancy=gamma))
