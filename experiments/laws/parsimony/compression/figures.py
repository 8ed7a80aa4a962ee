"""Figure 1 of Yaras et al. 2023, drawn from results alone."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.runner import plots
from experiments.runner.runs import Run, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "trajectory_pair_*": (
        "Four panels that compare a d x d network (thick) with its small equivalent (thin): end-to-end trajectory, "
        "loss by step, loss by counted arithmetic, and distance. Trajectories and losses coincide, at a fraction of "
        "the arithmetic. The distance is the predicted eps^L sqrt(d - 2r); once the term in rho is added, it is "
        "below the bound, at floating-point error."
    ),
    "trajectory_control_*": (
        "Four panels that compare a d x d network (thick) with a small network whose bases are of another draw "
        "(thin): end-to-end trajectory, loss by step, loss by counted arithmetic, and distance. The two take "
        "different paths, and their distance leaves the prediction: the bases have to be those of the network."
    ),
    "small_alone": (
        "Mean loss over the steps on a log axis, of small equivalents that run without their d x d network, a line "
        "for each member. The loss stays on a plateau and then falls to the tolerance within few steps."
    ),
}

FULL, SMALL = plots.COLOURS[1], plots.COLOURS[0]


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """Trajectory, loss and distance of one member of every pair and control, and the small networks alone."""
    variants = grouped(found, lambda run: run.variant)
    together = {name: family[0] for name, family in variants.items() if family[0].config.net.kind != "small"}
    alone = [family for name, family in variants.items() if name not in together]
    drawn = {f"trajectory_{name}": _together(run) for name, run in together.items()}
    return drawn | ({"small_alone": _alone(alone)} if alone else {})


def _together(run: Run) -> Figure:
    net, rank, member = run.config.net, run.config.data.rank, run.member(0)
    member = member.isel(step=slice(_seen(member)))
    drawn = plots.figure(10.5, 7.0)
    unfolded = f", unfolded at step {net.skip}" if net.skip else ""
    control = ", with the bases of another draw" if net.kind == "control" else ""
    drawn.suptitle(
        f"d x d network and its {2 * rank} x {2 * rank} equivalent{control}: "
        f"d = {net.width}, r = {rank}, L = {net.depth}, ε = {net.scale:g}, seed 0{unfolded}"
    )
    panels = drawn.subplots(2, 2)
    steps = member.step.values + net.skip
    _components(panels[0, 0], member)
    _losses(panels[0, 1], steps, member)
    _losses_by_work(panels[1, 0], steps, member, run)
    _distances(panels[1, 1], steps, member)
    return drawn


def _seen(member: xr.Dataset) -> int:
    """How many observations were made before the member stopped; the others repeat the last, or are not finite."""
    if member.diverged_at >= 0:
        return max(1, int(np.searchsorted(member.step.values, member.diverged_at)))
    last = int(member.converged_at) if member.converged_at >= 0 else int(member.step[-1])
    return min(int(np.searchsorted(member.step.values, last)) + 1, member.sizes["step"])


def _components(axes: Axes, member: xr.Dataset) -> None:
    """Both trajectories on the principal components of the d x d network's, while both are finite."""
    full, small = (member[name].values.reshape(member.sizes["step"], -1) for name in ("full_core", "reduced_core"))
    known = np.isfinite(full).all(1) & np.isfinite(small).all(1)
    if not known.any():
        axes.text(0.5, 0.5, "diverged at once", ha="center", transform=axes.transAxes)
        return
    full, small = full[known], small[known]
    centre = full.mean(axis=0)
    components = np.linalg.svd(full - centre)[2][:2]
    for values, colour, width, label in ((full, FULL, 5.0, "d x d network"), (small, SMALL, 1.4, "small equivalent")):
        path = (values - centre) @ components.T
        axes.plot(*path.T, color=colour, linewidth=width, alpha=0.6 if width > 2 else 1.0, label=label)
        axes.plot(*path[:1].T, "o", color=colour, markersize=width + 3)
        axes.plot(*path[-1:].T, "s", color=colour, markersize=width + 3)
    axes.set(xlabel="first principal component of $U^T W_{L:1} V$", ylabel="second principal component")
    axes.set_title("end-to-end trajectories (circle: start, square: end)")
    axes.legend()


def _losses(axes: Axes, steps: np.ndarray, member: xr.Dataset) -> None:
    axes.semilogy(steps, member.full_loss, color=FULL, linewidth=5, alpha=0.6, label="d x d network")
    axes.semilogy(steps, member.reduced_loss, color=SMALL, label="small equivalent")
    axes.set(xlabel="step t", ylabel="mean loss", title="loss by step")
    axes.legend()


def _losses_by_work(axes: Axes, steps: np.ndarray, member: xr.Dataset, run: Run) -> None:
    """The loss over arithmetic: a run is not timed for each of the two networks."""
    config = run.config
    sizes = {"d x d network": config.net.width, "small equivalent": 2 * config.data.rank}
    for (label, size), name, colour in zip(sizes.items(), ("full_loss", "reduced_loss"), (FULL, SMALL), strict=True):
        work = 2 * 3 * (config.net.depth - 1) * float(size) ** 3 * np.maximum(steps, 1)
        axes.loglog(work, member[name], color=colour, linewidth=2, label=label)
    axes.set(ylabel="mean loss", title="loss by work")
    axes.set_xlabel("floating-point operations of the matrix products so far (counted)")
    axes.legend()


def _distances(axes: Axes, steps: np.ndarray, member: xr.Dataset) -> None:
    axes.semilogy(steps, member.distance, color=FULL, linewidth=5, alpha=0.6, label="measured")
    axes.semilogy(steps, member.predicted_distance, color="black", linewidth=1.0, label="predicted: ε^L √(d − 2r)")
    whole = np.maximum(member.whole_distance, plots.LOG_FLOOR)
    axes.semilogy(steps, whole, color=SMALL, label="with the term of ρ added")
    axes.axhline(1e-11, color="black", linestyle="--", linewidth=1.0, label="bound 1e-11")
    axes.set(xlabel="step t", ylabel="‖W_full − W_comp‖ / ‖Φ‖ (Frobenius)")
    axes.set_title("distance of the end-to-end matrices")
    axes.legend()


def _alone(variants: list[list[Run]]) -> Figure:
    """Every member's loss of the small networks that run without their d x d one."""
    drawn = plots.figure(6.0, 3.8)
    axes = drawn.subplots()
    for look, family in zip(plots.looks(len(variants)), variants, strict=True):
        config, losses = family[0].config, np.concatenate([run.all("reduced_loss") for run in family])
        for member, loss in enumerate(losses):
            label = f"d = {config.net.width}, r = {config.data.rank} ({len(losses)} member{'s' * (len(losses) > 1)})"
            axes.semilogy(family[0].steps, loss, alpha=0.7, label=None if member else label, **look.curve)
    axes.set(xlabel="step t", ylabel="mean loss")
    axes.set_title("the small network alone, its bases drawn without d x d weights")
    axes.legend()
    return drawn
