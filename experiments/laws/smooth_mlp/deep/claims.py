"""The claims of four-layer smooth networks: Figures 1, 2, 4, 5 and 8 to 10 of Xu et al. 2026."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.laws.smooth_mlp.common import PAPER, TITLES, is_smooth, observed, title
from experiments.laws.smooth_mlp.deep import measures
from experiments.laws.smooth_mlp.deep.measures import MATCHED_LOSS, shares
from experiments.laws.smooth_mlp.deep.system import METHODS
from experiments.runner.controls import in_row, in_summary
from experiments.runner.laws import Law, Source, across, measure, stated_for
from experiments.runner.runs import Run, Where, grouped, where
from experiments.runner.summary import final

# Fields that the bounds were stated for. The step sizes of Figures 4 and 5 depend on the activation.
MIXTURE: dict[str, Any] = {"data__source": "mixture", "data__num_classes": 4, "net__depth": 4}
SGD = {"opt__method": "sgd", "opt__momentum": 0.0, "opt__loss": "squared", "data__whiten": True}
SMALL = {"data__dimension": 32, "data__num_samples": 2000}
BLOCKS = MIXTURE | {"net__width": 72, "net__scale": 0.1, "net__last": "uniform"}
SPECTRA = MIXTURE | SGD | SMALL | {"net__scale": 1.0, "net__last": "orthogonal", "opt__batch_size": 2000}
DEEP = BLOCKS | SGD | {"opt__num_steps": 250}
OPTIMIZERS = BLOCKS | SMALL | {"data__whiten": False, "opt__loss": "cross_entropy", "opt__batch_size": 32}
OPTIMIZERS |= {"opt__momentum": 0.9, "opt__num_steps": 100}
# The bounds of Figure 5; the figures show averages over ten trials. A single trial may do worse: it has its own row.
SHARES = {"ELU, SGD": 0.9, "GELU, SGD": 0.6, "ELU, Adam": 0.5, "GELU, Adam": 0.4}
AVERAGED = ("mean", "worst")


def source(figure: str, study: str, fields: dict[str, Any], **step_sizes: float) -> Source:
    """The runs of a study on the mixture, whose bounds are stated for these fields and step sizes."""
    fits = where(**fields)
    stated = stated_for(
        "the paper's data, network and rates",
        lambda run: fits(run) and run.config.opt.step_size == step_sizes.get(run.config.net.activation),
    )
    return Source(paper=PAPER, figure=figure, of=where(study=study, data__source="mixture"), stated=(stated,))


def case(run: Run) -> str:
    """The activation and the optimizer."""
    return f"{title(run)}, {METHODS[run.config.opt.method]}"


def elu_muon(run: Run) -> bool:
    """ELU networks under Muon."""
    return case(run) == "ELU, Muon"


def undisputed(run: Run) -> np.ndarray:
    """The least share of block 1 in the layers in which the paper is right about it."""
    return np.delete(shares(run), [layer - 1 for layer in DISPUTED.get(case(run), ())], axis=1).min(1)


def every_step(found: Sequence[Run]) -> str:
    """The objection to runs that were not observed at every step."""
    return next(filter(None, (observed(range(run.config.opt.num_steps + 1))([run]) for run in found)), "")


ARE_SMOOTH, ARE_NOT = where(net__activation=is_smooth), where(net__activation=lambda name: not is_smooth(name))


def middle(
    id: str, when: str, of: Callable[..., np.ndarray], below: float, above: float, **options: Any
) -> tuple[Law, ...]:
    """The largest change of the middle subspaces of smooth networks, and the smallest of the others."""
    change = "change of a middle subspace, ||sin Theta||_F^2 with U_{l,2} or V_{l,2}, l = 1..L-1"
    smooth, kinked = (measure(lambda run, reduce=reduce: of(run, reduce)) for reduce in (np.max, np.min))
    with_smooth, with_kinked = f"F8.smooth.{id}", f"F8.kinked.{id}"
    large, small = f"smooth, {when}: largest {change}", f"not smooth, {when}: smallest {change}"
    return (
        F8.law(with_smooth, large, smooth <= below, ARE_SMOOTH, control=in_row(with_kinked), **options),
        F8.law(with_kinked, small, kinked >= above, ARE_NOT, control=in_row(with_smooth), **options),
    )


def values(step: int, below: float, above: float) -> tuple[Law, ...]:
    """The largest change of a middle singular value at a step, of smooth networks and of the others."""
    says = f"t = {step}: largest change of a middle singular value, l = 1..L-1, all of which are 1 at t = 0"
    change, at = measure(measures.moved_by(step)), (observed([step]),)
    return (
        F1.law("F1.smooth", f"smooth, {says}", change <= below, ARE_SMOOTH, control=in_row("F1.kinked"), needs=at),
        F1.law("F1.kinked", f"not smooth, {says}", change >= above, ARE_NOT, control=in_row("F1.smooth"), needs=at),
    )


F1, F8 = (
    source(figures, "spectra", SPECTRA, **dict.fromkeys(TITLES, 1e-3)) for figures in ("Figs. 1, 2", "Figs. 1, 2, 8-10")
)
F4 = source("Fig. 4", "deep", DEEP, elu=1e-3, gelu=5e-3)
F5 = source("Fig. 5", "optimizers", OPTIMIZERS, elu=1e-4, gelu=5e-4)
EQUAL = where(**MIXTURE, **SMALL | {"data__num_samples": 1000}, net__width=72, net__scale=0.1, opt__loss="squared")
SYM = Source(
    paper=PAPER,
    figure="Fig. 5, at equal loss",
    of=where(study="symmetry"),
    stated=(stated_for("d = 32, N = 1000, K = 4, m = 72, eps = 0.1, squared error", EQUAL),),
)
LEAST = "block 1's share of the change, the least of layers 1..L-1"
ORDER = "block 1's share in layer 1 falls from SGD to Adam to Muon: smallest fall"
MAJORITY = "block 1 has 'a majority of the change'"
# The layers in which it has none at the end; ELU with Muon has none in layer 1 up to epoch 24 or so.
DISPUTED = {"GELU, Adam": (1,), "GELU, Muon": (1, 2)}
EARLY, LATE = 10, 30
least, minority = measure(lambda run: shares(run).min(1)), measure(measures.last_minority)
PAPERS_METHODS = ("sgd", "adam", "muon")
fall = across(measures.smallest_fall)
# Block 1 of a random S_small in the place of the gradient's.
LEAST_RANDOM, LARGEST_RANDOM = (
    f"{which} share of block 1 in a layer, random S_small" for which in ("least", "largest")
)
RANDOM_FALL = "block 1's share in layer 1, random S_small: smallest fall from SGD to Adam to Muon"
MINORITY = "last step without a majority in block 1 of layer 1"
RANDOM_MINORITY = f"{MINORITY}, random S_small"
AT_EQUAL = f"at the first L <= {MATCHED_LOSS} L_0"
# Methods of which the first has more of its change in block 1 than the second, and what that says of symmetry.
LEADS = {
    "S.gd": (("sgd", "adam"), "gradient descent, which commutes with rotations, leads Adam, which does not"),
    "S.shampoo": (("adam", "shampoo"), "symmetry does not decide: Adam leads Shampoo, which commutes with rotations"),
}
LEAD_RANDOM = f"block 1's share in layer 1 {AT_EQUAL}, random S_small: by how much one leads another"
lead = across(measures.lead_matched)


def of_methods(*names: str) -> tuple[Where, ...]:
    """The runs of these methods, one each."""
    return tuple(where(opt__method=name) for name in names)


matched = {"needs": (every_step,), "event": measures.is_matched}

LAWS = (
    *values(300, 0.15, 0.25),
    *middle("100", "t = 100", measures.middle_at(100), 0.15, 1.9, needs=(observed([100]),)),
    *middle("300", "t = 300", measures.middle_at(300), 1.0, 2.2, needs=(observed([300]),)),
    *middle("matched", f"first L <= {MATCHED_LOSS} L_0", measures.middle_matched, 0.35, 1.5, **matched),
    *(
        F4.law(
            f"F4.{statistic}",
            f"{{}}, last step: {LEAST}",
            least >= 0.97,
            each=lambda run: f"{title(run)}, d={run.config.data.dimension}",
            statistic=statistic,
            control=in_summary(LEAST_RANDOM),
        )
        for statistic in AVERAGED
    ),
    *(
        F5.law(
            f"F5.{statistic}",
            f"{{}}, last epoch: {LEAST}",
            least >= (lambda run: SHARES[case(run)]),
            lambda run: case(run) in SHARES,
            each=case,
            statistic=statistic,
            control=in_summary(LEAST_RANDOM),
        )
        for statistic in AVERAGED
    ),
    *(
        F5.law(
            f"F5.order.{name}",
            f"{{}}, last epoch: {ORDER}",
            fall > 0.0,
            of_methods(*PAPERS_METHODS),
            each=title,
            statistic=name,
            control=in_summary(RANDOM_FALL),
        )
        for name in AVERAGED
    ),
    *(
        F5.printed(
            f"F5.majority.{layer}",
            f"{{}}, last epoch: {MAJORITY} in layer {layer}: its share",
            measure(lambda run, place=layer - 1: shares(run)[:, place]) < 0.5,
            lambda run, layer=layer: layer in DISPUTED.get(case(run), ()),
            each=case,
            statistic="mean",
        )
        for layer in (1, 2)
    ),
    F5.law(
        "F5.majority.rest",
        f"{{}}, last epoch: {MAJORITY} in the layers in which we do not dispute it: its least share",
        measure(undisputed) >= 0.5,
        each=case,
        control=in_summary(LARGEST_RANDOM),
    ),
    F5.printed(
        "F5.majority.early",
        f"{{}}, epoch {EARLY}: {MAJORITY} in layer 1: its share",
        measure(lambda run: run.all("fractions")[:, run.steps == EARLY, 0, 0]) < 0.5,
        elu_muon,
        each=case,
        needs=(observed([EARLY]),),
        statistic="mean",
    ),
    F5.law(
        "F5.majority.late",
        f"{{}}, from epoch {LATE} on {MAJORITY} in layer 1: last epoch without it",
        minority <= LATE,
        elu_muon,
        each=case,
        needs=(observed([LATE]),),
        control=in_summary(RANDOM_MINORITY),
    ),
    *(
        SYM.law(
            id,
            f"{{}}, block 1's share in layer 1 {AT_EQUAL}: {says}: smallest difference",
            lead > 0.0,
            of_methods(*pair),
            each=title,
            control=in_summary(LEAD_RANDOM),
            **matched,
        )
        for id, (pair, says) in LEADS.items()
    ),
)

# Numbers without a bound. ---------------------------------------------------------------------------------------------


def column(variable: str, of: Callable[[Run], Any]) -> Callable[[Run], Any]:
    """A column of the runs that have this variable."""
    return lambda run: of(run) if variable in run.data else None


def share_in(layer: int, name: str = "fractions") -> Callable[[Run], Any]:
    """Block 1's share in a layer, of the networks that have it."""
    return column(name, lambda run: shares(run, name)[:, layer - 1] if layer < run.config.net.depth else None)


def equal_in(layer: int, name: str = "fractions") -> Callable[[Run], Any]:
    """Block 1's share in a layer at equal loss, of the runs that are compared so."""
    return lambda run: (
        measures.shares_matched(run, name)[:, layer - 1]
        if run.config.study == "symmetry" and layer < run.config.net.depth
        else None
    )


SUMMARY = {
    "loss over the first loss": lambda run: run.last("loss") / run.first("loss"),
    "accuracy on the training data": final("accuracy"),
    "largest change of a middle singular value": column("singular_values", measures.moved),
    **{
        f"mean ||sin Theta||_F^2 of the {part} K subspaces since step 1": column(
            part, lambda run, part=part: run.last(part).mean((1, 2))
        )
        for part in ("top", "bottom")
    },
    f"first step with L <= {MATCHED_LOSS} L_0": lambda run: (
        measures.matched_step(run) if run.config.study in ("spectra", "symmetry") else None
    ),
    **{f"block 1's share in layer {layer} {AT_EQUAL}": equal_in(layer) for layer in (1, 2, 3)},
    **{
        f"block 1's share in layer {layer} {AT_EQUAL}, random S_small": equal_in(layer, "random_fractions")
        for layer in (1, 2, 3)
    },
    **{f"block 1's share in layer {layer}": share_in(layer) for layer in (1, 2, 3)},
    **{f"block 1's share in layer {layer}, random S_small": share_in(layer, "random_fractions") for layer in (1, 2, 3)},
    LEAST_RANDOM: column("random_fractions", lambda run: shares(run, "random_fractions").min(1)),
    LARGEST_RANDOM: column("random_fractions", lambda run: shares(run, "random_fractions").max(1)),
    MINORITY: column("fractions", measures.last_minority),
    RANDOM_MINORITY: column("random_fractions", lambda run: measures.last_minority(run, "random_fractions")),
    **{
        f"sigma_{{{i}}}(G_1(0)) / sigma_1(G_1(0))": lambda run, place=place: run.first("start_gradient")[:, place]
        for place, i in enumerate(("K-1", "K", "K+1"))
    },
}


def random_falls(found: Sequence[Run]) -> dict[str, np.ndarray]:
    """The smallest fall of a random S_small's share, of the activations that ran once with every method."""
    ours = [run for run in found if F5.of(run)]
    methods = of_methods(*PAPERS_METHODS)
    panels = {name: [list(filter(fits, panel)) for fits in methods] for name, panel in grouped(ours, title).items()}
    return {
        name: measures.smallest_fall([run for (run,) in panel], "random_fractions")
        for name, panel in panels.items()
        if all(len(runs) == 1 for runs in panel)
    }


def random_leads(found: Sequence[Run]) -> dict[str, np.ndarray]:
    """By how much the first of two methods leads with a random S_small, of the activations that ran with both."""
    panels, leads = grouped([run for run in found if SYM.of(run)], title), {}
    for name, panel in panels.items():
        for pair, _ in LEADS.values():
            chosen = [list(filter(fits, panel)) for fits in of_methods(*pair)]
            if all(len(runs) == 1 for runs in chosen):
                heading = f"{name}, {' over '.join(METHODS[each] for each in pair)}"
                leads[heading] = measures.lead_matched([run for (run,) in chosen], "random_fractions")
    return leads


COMPARISONS = {RANDOM_FALL: random_falls, LEAD_RANDOM: random_leads}
