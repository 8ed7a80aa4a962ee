"""The figures of noise robustness: test error over the noise for every weight decay, compared with the oracle."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.laws.inverse_problems.measures import decay
from experiments.runner import plots
from experiments.runner.runs import Run

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "robustness": (
        "Test error over the noise at the end, and over the steps at one noise level, a curve for each weight decay; "
        "medians and ranges over the seeds. Without decay the network amplifies noise. With enough decay its error "
        "falls to that of the oracle map (dotted)."
    ),
    "union": (
        "Test error over the noise at the end, and over the steps at one noise level, a curve for each weight decay, "
        "for a ReLU network on a union of subspaces; medians and ranges over the seeds. More decay makes the network "
        "less sensitive to noise. It does not reach the oracle, which is told the subspaces (dotted)."
    ),
    "digits": (
        "Test error over the noise at the end, and over the steps at one noise level, a curve for each weight decay, "
        "on handwritten digits; medians and ranges over the seeds. Without decay the network amplifies noise. With "
        "enough decay its error falls to that of the oracle map (dotted) and below."
    ),
}

ORACLES = {"robustness": "oracle map X Y⁺", "union": "oracle: nearest subspace", "digits": "oracle map X Y⁺"}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """Test error over the noise at the end, and the test error at one noise level over the steps."""
    config = found[0].config
    drawn = plots.figure(10.5, 4.0)
    drawn.suptitle(_title(found[0]))
    noise, time = drawn.subplots(1, 2)
    levels = np.asarray(config.data.noise) * (config.data.num_measurements**0.5 if config.study == "union" else 1.0)
    place = int(np.argmin(np.abs(levels - (1.0 if config.study == "union" else 0.1))))
    for look, run in zip(plots.looks(len(found)), found, strict=True):
        about = {"marker": "o", "markersize": 3.0, "label": f"λ = {decay(run):g}"}
        plots.band(noise, levels, run.last("test_error"), **look.curve, **about)
        plots.band(time, run.steps, run.all("test_error")[:, :, place], **look.curve)
    oracle = np.ma.median(np.ma.masked_invalid(found[0].first("oracle_error")), axis=0).filled(np.nan)
    noise.plot(levels, oracle, "k:", label=ORACLES[config.study])
    time.axhline(oracle[place], color="black", linestyle=":")
    name = "noise σ√m, relative to the signal" if config.study == "union" else "noise σ in every measurement"
    noise.set(xlabel=name, ylabel="test error E‖f(y) − x‖, ‖x‖ = 1")
    noise.set_title("at the end")
    time.set(xlabel="step t", ylabel="test error", yscale="log")
    time.set_title(f"at noise {'σ√m' if config.study == 'union' else 'σ'} = {levels[place]:g}")
    time.set_xscale("symlog", linthresh=1.0)
    time.set_xlim(0, found[0].config.opt.num_steps)
    noise.legend()
    return {config.study: drawn}


def _title(run: Run) -> str:
    net, data, opt = run.config.net, run.config.data, run.config.opt
    kinds = {"robustness": "one subspace", "union": f"{data.num_subspaces} subspaces, one ReLU", "digits": "digits"}
    sizes = f"d = {data.dimension}, m = {data.num_measurements}, s = {data.subspace_dimension}, $d_w$ = {net.width}"
    step = f"η = {opt.step_size:g}" + ("/λₘₐₓ(P(0))" if opt.step_unit == "curvature" else "")
    return (
        f"{kinds[run.config.study]}: {sizes}, L = {net.depth}, {step}; median and range of {run.config.num_seeds} seeds"
    )
