"""The claims of four-layer smooth networks: Figures 1, 2, 4, 5 and 8 to 10 of Xu et al. 2026."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.laws.smooth_mlp.common import PAPER, every_step, is_smooth, observed, title
from experiments.laws.smooth_mlp.deep.measures import (
    MATCHED_LOSS,
    end,
    is_matched,
    last_minority,
    least_share,
    matched_step,
    middle_at,
    middle_matched,
    moved,
    shares,
    smallest_gap,
)
from experiments.laws.smooth_mlp.deep.system import METHODS
from experiments.runner.laws import Law, Source, across, measure, stated_for
from experiments.runner.runs import Run, Where, where
from experiments.runner.summary import final

# Fields that bounds were stated for; the step sizes of Figures 4 and 5 depend on the activation.
MIXTURE: dict[str, Any] = {"data__source": "mixture", "data__num_classes": 4, "net__depth": 4}
SPECTRA = MIXTURE | {
    "net__scale": 1.0,
    "net__last": "orthogonal",
    "opt__method": "sgd",
    "opt__momentum": 0.0,
    "opt__loss": "squared",
    "opt__step_size": 1e-3,
    "opt__batch_size": 2000,
    "data__dimension": 32,
    "data__num_samples": 2000,
    "data__whiten": True,
}
BLOCKS = MIXTURE | {"net__width": 72, "net__scale": 0.1, "net__last": "uniform"}
DEEP = BLOCKS | {"opt__method": "sgd", "opt__momentum": 0.0, "opt__loss": "squared", "data__whiten": True}
DEEP |= {"opt__num_steps": 250}
DEEP_STEP_SIZES = {"elu": 1e-3, "gelu": 5e-3}
OPTIMIZERS = BLOCKS | {"opt__loss": "cross_entropy", "opt__batch_size": 32, "opt__momentum": 0.9}
OPTIMIZERS |= {"opt__num_steps": 100, "data__dimension": 32, "data__num_samples": 2000, "data__whiten": False}
OPTIMIZERS_STEP_SIZES = {"elu": 1e-4, "gelu": 5e-4}
# Bounds on the change of the middle subspaces: smooth networks stay below the first, nonsmooth ones above the second.
MIDDLE = {100: (0.15, 1.9), 300: (1.0, 2.2)}
MIDDLE_MATCHED = (0.35, 1.5)
KEPT = 0.97
SHARES = {("elu", "sgd"): 0.9, ("gelu", "sgd"): 0.6, ("elu", "adam"): 0.5, ("gelu", "adam"): 0.4}
# The figures show averages over ten trials. A single trial may do worse, and has a row of its own.
AVERAGED = ("mean", "worst")


def source(figure: str, study: str, fields: Mapping[str, Any], step_sizes: Mapping[str, float] | None = None) -> Source:
    """The runs of a study on the mixture, whose bounds are stated for these fields and step sizes."""
    fits = where(**fields)

    def is_stated(run: Run) -> bool:
        rates = step_sizes or {run.config.net.activation: run.config.opt.step_size}
        return fits(run) and rates.get(run.config.net.activation) == run.config.opt.step_size

    stated = (stated_for("the paper's data, network and rates", is_stated),)
    return Source(paper=PAPER, figure=figure, of=where(study=study, data__source="mixture"), stated=stated)


F8 = source("Figs. 1, 2, 8-10", "spectra", SPECTRA)
F4 = source("Fig. 4", "deep", DEEP, DEEP_STEP_SIZES)
F5 = source("Fig. 5", "optimizers", OPTIMIZERS, OPTIMIZERS_STEP_SIZES)


def is_kinked(run: Run) -> bool:
    """Whether the activation is not smooth."""
    return not is_smooth(run)


def size_of(run: Run) -> str:
    """The activation and the dimension of the data."""
    return f"{title(run)}, d={run.config.data.dimension}"


def case(run: Run) -> str:
    """The activation and the optimizer."""
    return f"{title(run)}, {METHODS[run.config.opt.method]}"


def key(run: Run) -> tuple[str, str]:
    """The activation and the optimizer, as ``SHARES`` names them."""
    return run.config.net.activation, run.config.opt.method


def middle(
    when: str, of: Callable[..., np.ndarray], bounds: tuple[float, float], id: str, **options: Any
) -> tuple[Law, ...]:
    """The largest change of the middle subspaces of smooth networks, and the smallest of the others."""
    change = "change of a middle subspace, ||sin Theta||_F^2 with U_{l,2} or V_{l,2}, l = 1..L-1"
    smooth, kinked = (measure(lambda run, reduce=reduce: of(run, reduce)) for reduce in (np.max, np.min))
    return (
        F8.law(f"F8.smooth.{id}", f"smooth, {when}: largest {change}", smooth <= bounds[0], is_smooth, **options),
        F8.law(f"F8.kinked.{id}", f"not smooth, {when}: smallest {change}", kinked >= bounds[1], is_kinked, **options),
    )


LEAST = "block 1's share of the change, the least of layers 1..L-1"
methods: tuple[Where, ...] = tuple(where(opt__method=method) for method in METHODS)
least, gap = measure(least_share), across(smallest_gap)

LAWS = (
    *middle("t = 100", lambda run, reduce: middle_at(run, 100, reduce), MIDDLE[100], "100", needs=(observed([100]),)),
    *middle("t = 300", lambda run, reduce: middle_at(run, 300, reduce), MIDDLE[300], "300", needs=(observed([300]),)),
    *middle(
        f"first L <= {MATCHED_LOSS} L_0",
        middle_matched,
        MIDDLE_MATCHED,
        "matched",
        needs=(every_step,),
        event=lambda run: is_matched(run).any(1),
    ),
    *(
        F4.law(f"F4.{name}", f"{{}}, last step: {LEAST}", least >= KEPT, each=size_of, statistic=name)
        for name in AVERAGED
    ),
    *(
        F5.law(
            f"F5.{name}",
            f"{{}}, last epoch: {LEAST}",
            least >= (lambda run: SHARES[key(run)]),
            lambda run: key(run) in SHARES,
            each=case,
            statistic=name,
        )
        for name in AVERAGED
    ),
    *(
        F5.law(
            f"F5.order.{name}",
            "{}, last epoch, layer 1: block 1's share falls from SGD to Adam to Muon: smallest fall",
            gap > 0.0,
            methods,
            each=title,
            statistic=name,
        )
        for name in AVERAGED
    ),
    F5.printed(
        "F5.majority",
        "{}, Muon, last epoch, layer 1: block 1 has 'a majority of the change': its share",
        measure(lambda run: shares(run)[:, 0]) < 0.5,
        where(opt__method="muon"),
        each=title,
    ),
)

# Numbers without a bound. ---------------------------------------------------------------------------------------------


def of(variable: str, column: Callable[[Run], Any]) -> Callable[[Run], Any]:
    """A column of the runs that have this variable."""
    return lambda run: column(run) if variable in run.data else None


def layer_share(layer: int) -> Callable[[Run], np.ndarray | None]:
    """Block 1's share in a layer, of the networks that have it."""
    return of("fractions", lambda run: shares(run)[:, layer - 1] if layer < run.config.net.depth else None)


SUMMARY = {
    "loss over the first loss": lambda run: run.last("loss") / run.first("loss"),
    "accuracy on the training data": final("accuracy"),
    "largest change of a middle singular value": of("singular_values", moved),
    **{
        f"mean ||sin Theta||_F^2 of the {part} K subspaces since step 1": of(
            part, lambda run, part=part: end(run, part)
        )
        for part in ("top", "bottom")
    },
    f"first step with L <= {MATCHED_LOSS} L_0": of("middle", matched_step),
    **{f"block 1's share in layer {layer}": layer_share(layer) for layer in (1, 2, 3)},
    "block 1's share with a random S_small, largest of all layers": of(
        "random_fractions", lambda run: shares(run, "random_fractions").max(1)
    ),
    "last step without a majority in block 1 of layer 1": of("fractions", last_minority),
    **{
        f"sigma_{{{i}}}(G_1(0)) / sigma_1(G_1(0))": lambda run, place=place: run.first("start_gradient")[:, place]
        for place, i in enumerate(("K-1", "K", "K+1"))
    },
}
