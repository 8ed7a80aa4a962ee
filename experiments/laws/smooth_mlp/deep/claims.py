"""The claims of four-layer smooth networks: Figures 1, 2, 4, 5 and 8 to 10 of Xu et al. 2026, and digits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from experiments.laws.smooth_mlp.deep.figures import METHODS, TITLES
from experiments.runner.claims import NO_SUCH_VARIANT, Claim, judge, not_run, report
from experiments.runner.fields import leaves
from experiments.runner.results import Group, groups
from lawlib.networks.activations import ACTIVATIONS

__all__ = ["claims"]

PAPER = "Xu et al. 2026"
# What the bounds were stated for; those of Figures 4 and 5 have their step sizes beside them.
MIXTURE = {"data.source": "mixture", "data.num_classes": 4, "net.depth": 4}
SPECTRA = MIXTURE | {
    "net.scale": 1.0,
    "net.last": "orthogonal",
    "opt.method": "sgd",
    "opt.momentum": 0.0,
    "opt.loss": "squared",
    "opt.step_size": 1e-3,
    "opt.batch_size": 2000,
    "data.dimension": 32,
    "data.num_samples": 2000,
    "data.whiten": True,
}
BLOCKS = MIXTURE | {"net.width": 72, "net.scale": 0.1, "net.last": "uniform"}
DEEP = BLOCKS | {"opt.method": "sgd", "opt.momentum": 0.0, "opt.loss": "squared", "data.whiten": True}
DEEP |= {"opt.num_steps": 250}
DEEP_STEP_SIZES = {"elu": 1e-3, "gelu": 5e-3}
OPTIMIZERS = BLOCKS | {"opt.loss": "cross_entropy", "opt.batch_size": 32, "opt.momentum": 0.9, "opt.num_steps": 100}
OPTIMIZERS |= {"data.dimension": 32, "data.num_samples": 2000, "data.whiten": False}
OPTIMIZERS_STEP_SIZES = {"elu": 1e-4, "gelu": 5e-4}
# Bounds on the change of the middle subspaces: smooth networks stay below the first, nonsmooth ones above the second.
MIDDLE = {100: (0.15, 1.9), 300: (1.0, 2.2)}
MATCHED_LOSS, MIDDLE_MATCHED = 0.55, (0.35, 1.5)
KEPT = 0.97
SHARES = {("elu", "sgd"): 0.9, ("gelu", "sgd"): 0.6, ("elu", "adam"): 0.5, ("gelu", "adam"): 0.4}
# The figures show averages over ten trials; one trial may do worse, and is judged beside them.
AVERAGED = ("mean", "worst")
ELSEWHERE = "stated for the paper's data, network and rates"

Family = Sequence[Group]


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the figures that the config names as its study."""
    found = groups(results)
    judged = {"spectra": _spectra, "deep": _deep, "optimizers": _optimizers}
    return list(judged[found[0].config.study](found))


# Figures 1, 2 and 8 to 10 ---------------------------------------------------------------------------------------------


def _spectra(found: Family) -> Iterator[Claim]:
    """The middle singular subspaces of smooth networks stay near eq. (8), those of the others leave it."""
    about: dict[str, Any] = {"id": "F1/8-10", "figure": "Figs. 1, 2, 8-10"}
    families = [
        [g for g in found if ACTIVATIONS[g.config.net.activation].is_smooth is is_smooth] for is_smooth in (True, False)
    ]
    for step, bounds in MIDDLE.items():
        yield from _middle(families, bounds, f"t = {step}", lambda group, step=step: _at_step(group, step), **about)
    when = f"first L <= {MATCHED_LOSS} L_0"
    yield from _middle(families, MIDDLE_MATCHED, when, _at_matched_loss, **about)
    for name, family in zip(("smooth", "not smooth"), families, strict=True):
        if family:
            yield from _spectra_reports(name, family, **about)


def _spectra_reports(name: str, family: Family, **about: Any) -> Iterator[Claim]:
    last = f"{name}, step {family[0].config.opt.num_steps}"
    common: dict[str, Any] = {"paper": PAPER, "diverged": _diverged(family)} | about
    statement = f"{last}: largest change of the middle d - 2K singular values, l = 1..L-1"
    yield report(statement=statement, values=_each(family, _moved), statistic="max", **common)
    for part in ("top", "bottom"):
        statement = f"{last}: mean ||sin Theta||_F^2 of the {part} K subspaces since step 1, over layers and sides"
        values = _each(family, lambda group, part=part: _over(group.data[part].isel(step=-1), group, "mean"))
        yield report(statement=statement, values=values, **common)
    statement = f"{name}: step of the first L <= {MATCHED_LOSS} L_0, members that reach it"
    steps = _each(family, _matched_steps)
    if steps.size:
        yield report(statement=statement, values=steps, **common)
    else:
        yield not_run(kind="report", paper=PAPER, statement=statement, reason="none does", **about)


def _middle(
    families: Sequence[Family],
    bounds: tuple[float, float],
    when: str,
    at: Callable[[Group], xr.DataArray | None],
    **about: Any,
) -> Iterator[Claim]:
    """The worst over layers and sides: the largest change of a smooth network, the smallest of another."""
    what = "||sin Theta||_F^2 of the middle subspaces with U_{l,2}, V_{l,2}, l = 1..L-1, both sides"
    kinds = (("smooth", "largest", "max", "<="), ("not smooth", "smallest", "min", ">="))
    for family, bound, (name, word, reduce, relation) in zip(families, bounds, kinds, strict=True):
        names = ", ".join(TITLES[group.config.net.activation] for group in family)
        source: dict[str, Any] = about | {"statement": f"{name} ({names}), {when}: {word} {what}"}
        seen = [(group, values) for group in family if (values := at(group)) is not None]
        if not family or len(seen) < len(family):
            yield not_run(kind="law", paper=PAPER, reason="this profile does not get there", **source)
        else:
            values = np.concatenate([_over(values, group, reduce) for group, values in seen])
            source |= {"relation": relation, "bound": bound, "diverged": _diverged(family)}
            source["outside"] = _outside(family, SPECTRA)
            yield judge(values=values, kind="law", paper=PAPER, **source)


def _at_step(group: Group, step: int) -> xr.DataArray | None:
    return group.data.middle.sel(step=step) if step in group.data.step else None


def _at_matched_loss(group: Group) -> xr.DataArray | None:
    """Every member at the first step with that loss; a member that never has it counts as not a number."""
    if group.data.step.size != group.config.opt.num_steps + 1 or not _is_matched(group).any():
        return None
    return group.data.middle.isel(step=_matched_index(group)).where(_is_matched(group).any("step"))


def _is_matched(group: Group) -> xr.DataArray:
    loss = group.data.loss
    return loss <= MATCHED_LOSS * loss.isel(step=0)


def _matched_index(group: Group) -> xr.DataArray:
    return _is_matched(group).argmax("step")


def _matched_steps(group: Group) -> np.ndarray:
    reached = _is_matched(group).any("step").values
    return group.data.step.values[_matched_index(group).values[reached]]


def _moved(group: Group) -> np.ndarray:
    """How far a member's middle singular values have gone from those of its orthogonal start, all equal to eps."""
    K, values = group.config.data.num_classes, group.data.singular_values
    middle = abs(values.isel(step=-1) - values.isel(step=0)).isel(index=slice(K, -K))
    return _over(middle, group, "max")


# Figures 4 and 5 ------------------------------------------------------------------------------------------------------


def _deep(found: Family) -> Iterator[Claim]:
    """Nearly all of the change lies in block 1, in every layer."""
    for group in found:
        name = f"{TITLES[group.config.net.activation]}, d = {group.config.data.dimension}"
        when = f"{name}, t = {group.config.opt.num_steps}"
        about: dict[str, Any] = {"id": "F4", "figure": "Fig. 4"}
        source: dict[str, Any] = about | {
            "statement": f"{when}: block 1's share of the change, the least of layers 1..L-1"
        }
        source |= {"relation": ">=", "bound": KEPT, "diverged": group.diverged}
        own = DEEP | {"opt.step_size": DEEP_STEP_SIZES.get(group.config.net.activation)}
        for statistic in AVERAGED:
            verdict = {"statistic": statistic, "outside": _outside([group], own)}
            yield judge(values=_least(group), kind="law", paper=PAPER, **verdict, **source)
        yield _random(group, when, **about)
        values = _over(group.data.loss.isel(step=-1) / group.data.loss.isel(step=0), group, "max")
        yield report(statement=f"{when}: L / L_0", values=values, paper=PAPER, diverged=group.diverged, **about)


def _optimizers(found: Family) -> Iterator[Claim]:
    """Block 1 keeps a majority under SGD and Adam, not under Muon; real data beside it."""
    about: dict[str, Any] = {"id": "F5", "figure": "Fig. 5"}
    mixture = {(g.config.net.activation, g.config.opt.method): g for g in found if g.config.data.source == "mixture"}
    for case, bound in SHARES.items():
        statement = f"{_case(*case)}, epoch 100: block 1's share of the change, the least of layers 1..L-1"
        for statistic in AVERAGED:
            verdict = {"statement": statement, "relation": ">=", "bound": bound, "statistic": statistic}
            yield _of_cases(mixture, [case], _least, **verdict, **about)
    for name in OPTIMIZERS_STEP_SIZES:
        cases = [(name, method) for method in METHODS]
        statement = f"{TITLES[name]}, epoch 100: block 1's share in layer 1, SGD > Adam > Muon: smallest gap"
        for statistic in AVERAGED:
            verdict = {"statement": statement, "relation": ">", "bound": 0.0, "statistic": statistic}
            yield _of_cases(mixture, cases, _smallest_gap, **verdict, **about)
    for name in OPTIMIZERS_STEP_SIZES:
        statement = f"'a majority of the change' fails for Muon in layer 1: block 1's share, {TITLES[name]}, epoch 100"
        verdict = {"kind": "printed", "statement": statement, "relation": "<", "bound": 0.5}
        yield _of_cases(mixture, [(name, "muon")], lambda group: _share(group, 0), **verdict, **about)
    for name in OPTIMIZERS_STEP_SIZES:
        if group := mixture.get((name, "muon")):
            statement = f"{_case(name, 'muon')}: the last epoch without a majority in block 1 of layer 1, or 0"
            values = _last_without_majority(group)
            yield report(statement=statement, values=values, paper=PAPER, diverged=group.diverged, **about)
    for group in found:
        yield from _optimizer_reports(group)


def _optimizer_reports(group: Group) -> Iterator[Claim]:
    config = group.config
    is_real, method = config.data.source == "digits", METHODS[config.opt.method]
    data = {True: "whitened digits, ", False: "digits, "}[config.data.whiten] if is_real else ""
    when = f"{data}{_case(config.net.activation, config.opt.method)}, epoch {config.opt.num_steps}"
    about: dict[str, Any] = {"id": f"digits {method}" if is_real else "F5"}
    about["figure"] = "Section 4.2 on real data" if is_real else "Fig. 5"
    for layer in range(group.data.sizes["layer"]):
        statement = f"{when}: block 1's share of the change in layer {layer + 1}"
        yield report(statement=statement, values=_share(group, layer), paper=PAPER, diverged=group.diverged, **about)
    yield _random(group, when, **about)
    values = _over(group.data.accuracy.isel(step=-1), group, "min")
    statement = f"{when}: accuracy on the training data"
    yield report(statement=statement, values=values, paper=PAPER, diverged=group.diverged, **about)
    for index, i in enumerate(("K-1", "K", "K+1")):
        values = _over(group.data.start_gradient.isel(step=0, near_K=index), group, "min")
        statement = f"{when}: sigma_{{{i}}}(G_1(0)) / sigma_1(G_1(0))"
        yield report(statement=statement, values=values, paper=PAPER, diverged=group.diverged, **about)


def _of_cases(
    mixture: Mapping[tuple[str, str], Group],
    cases: Sequence[tuple[str, str]],
    measure: Callable[..., np.ndarray],
    *,
    kind: str = "law",
    **about: Any,
) -> Claim:
    """Judge one number per seed of some variants, unless one is missing."""
    family = [mixture[case] for case in cases if case in mixture]
    source = {name: about[name] for name in ("id", "figure", "statement")}
    if len(family) < len(cases):
        return not_run(kind=kind, paper=PAPER, reason=NO_SUCH_VARIANT, **source)
    about["outside"] = _outside(family, OPTIMIZERS | {"opt.step_size": OPTIMIZERS_STEP_SIZES[cases[0][0]]})
    return judge(values=measure(*family), kind=kind, paper=PAPER, diverged=_diverged(family), **about)


def _random(group: Group, when: str, **about: Any) -> Claim:
    values = _over(group.data.random_fractions.isel(step=-1, block=0), group, "max")
    statement = f"{when}: block 1's share with a random subspace for S_small, the largest of layers 1..L-1"
    return report(statement=statement, values=values, paper=PAPER, diverged=group.diverged, **about)


# Measures: one number per member --------------------------------------------------------------------------------------


def _share(group: Group, layer: int) -> np.ndarray:
    return group.data.fractions.isel(step=-1, layer=layer, block=0).values.ravel()


def _least(group: Group) -> np.ndarray:
    return _over(group.data.fractions.isel(step=-1, block=0), group, "min")


def _last_without_majority(group: Group) -> np.ndarray:
    """The last epoch seen at which block 1 carries less than half of the change of layer 1."""
    is_minority = group.data.fractions.isel(layer=0, block=0) < 0.5
    return (is_minority * group.data.step).max("step").values.ravel()


def _smallest_gap(*in_order: Group) -> np.ndarray:
    """Member by member, the smallest fall from one group to the next in layer 1."""
    shares = np.stack([_share(group, 0) for group in in_order])
    return (shares[:-1] - shares[1:]).min(0)


def _over(values: xr.DataArray, group: Group, reduce: str) -> np.ndarray:
    return group.per_member(values, reduce)


def _each(family: Family, measure: Callable[[Group], np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(measure(group)) for group in family])


def _diverged(family: Family) -> int:
    return sum(group.diverged for group in family)


def _case(name: str, method: str) -> str:
    return f"{TITLES[name]}, {METHODS[method]}"


def _outside(family: Family, setting: Mapping[str, Any]) -> str:
    """Why a bound does not apply: variants at another setting than it was stated for, or sweeping; empty if it does."""
    fields = [leaves(group.config) for group in family if not group.hyperparameters]
    ours = len(fields) == len(family) and all(own[field] == setting[field] for own in fields for field in setting)
    return "" if ours else ELSEWHERE
