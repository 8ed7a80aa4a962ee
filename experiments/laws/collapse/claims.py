"""The claims of progressive collapse: Figures 2, 7, 11 and 12 and Theorem 2 of Yaras et al. 2023."""

from collections.abc import Sequence

import numpy as np

from experiments.laws.collapse.measures import (
    bound,
    ended,
    fit,
    fraction_ended,
    initial_separation,
    is_descent,
    is_lawful,
    largest_scale,
    last_imbalance,
    law,
    of_bound,
    off_balance,
    rates,
    ratios,
    separation,
    separation_ended,
)
from experiments.runner.laws import Law, Source, across, differing_in, measure, stated_for
from experiments.runner.runs import Run, Where, where
from experiments.runner.settings import hyperparameters
from experiments.runner.summary import final

PAPER = "Yaras et al. 2023"
# The mean losses at which the paper draws its figures; at which the residual, which separates nothing, no longer shows
# in the last layers of ReLU networks and of linear ones (their rate is then that of the law); and of Theorem 2. ReLU
# networks are judged at both of theirs, since few of them reach the smaller one.
DRAWN_AT, SETTLED_AT, EXACT_AT, OPTIMAL_AT = 1e-6, 1e-8, 1e-12, 1e-16
STATED = stated_for(
    "K = 5 classes of n = 10 orthogonal inputs",
    where(data__source="orthogonal", data__num_classes=5, data__samples_per_class=10),
)
# Figure 2 has one eps and Figure 11 one depth.
DRAWN = {
    "depth": {"net__scale": 0.5},
    "scale": {"net__depth": 4, "net__scale": lambda scale: scale in (0.5, 0.25, 0.125)},
}
PRINTED = stated_for(
    "orthogonal weights of the figure's eps and depth",
    lambda run: where(net__init="orthogonal", **DRAWN[run.config.study])(run),
)
FIGURE_12 = stated_for("eps = 0.5 and L = 8", where(net__scale=0.5, net__depth=8))

off_start = measure(lambda run: np.abs(run.last("separation")[:, 0] / initial_separation(run) - 1))
off_law = measure(lambda run: np.abs(ratios(run) / law(run) - 1).max(1))
off_rate = measure(lambda run: np.abs(fit(separation(run)).rate / law(run) - 1))
straight = measure(lambda run: fit(separation(run)).r_squared)
straight_ended = measure(lambda run: fit(separation_ended(run)).r_squared)
rate_ended = measure(lambda run: fit(separation_ended(run)).rate)
ratio_ended = measure(lambda run: ratios(run.members(ended(run))).max(1))
spread = across(lambda found: rates(found).max(0) / rates(found).min(0))
# In ReLU networks the rates of seeds differ more than those of inits.
spread_of_means = across(lambda found: [rates(found).mean(1).max() / rates(found).mean(1).min()])
steeper = across(lambda found: (rates(found)[1:] / rates(found)[:-1]).max(0))
share_of_bound = measure(of_bound)


@across
def steeper_ended(found: Sequence[Run]) -> np.ndarray:
    """Of the seeds that reach their tolerance at every eps."""
    reached = rates(found)[:, np.all([ended(run) for run in found], axis=0)]
    return (reached[1:] / reached[:-1]).max(0)


@across
def over_shallower(found: Sequence[Run]) -> np.ndarray:
    """The largest D_{L-1} over that of the next smaller depth, of the seeds that reach their loss at every depth."""
    ordered = sorted(found, key=lambda run: run.config.net.depth)
    ends = np.stack([ratios(run).prod(1) for run in ordered])[:, np.all([ended(run) for run in ordered], axis=0)]
    return (ends[1:] / ends[:-1]).max(0)


exact, settled = (where(net__activation=a, opt__tolerance=t) for a, t in (("linear", EXACT_AT), ("relu", SETTLED_AT)))
drawn_linear, drawn_relu = (where(net__activation=name, opt__tolerance=DRAWN_AT) for name in ("linear", "relu"))
optimal = where(net__activation="linear", opt__tolerance=OPTIMAL_AT)


def lawful(run: Run) -> bool:
    """Linear networks at the loss at which their rate is that of the law."""
    return exact(run) and is_lawful(run)


def smallest_drawn(run: Run) -> bool:
    """Linear networks of the smallest eps, at the loss at which the paper draws them."""
    smallest = min(hyperparameters(run.config).get("net.scale", (run.config.net.scale,)))
    return where(net__activation="linear", opt__tolerance=DRAWN_AT, net__scale=smallest)(run)


def within(run: Run) -> bool:
    """Descent from a start as Corollary 1 has it, at an eps within (28)."""
    return optimal(run) and is_descent(run) and small(run)


def small(run: Run) -> bool:
    """Corollary 1's hypotheses on the start."""
    return run.config.net.init == "corollary" and run.config.net.scale <= largest_scale(run)


def flows(run: Run) -> bool:
    """The flow from such a start."""
    return optimal(run) and not is_descent(run) and small(run)


def beyond(run: Run) -> bool:
    """A larger eps, at which the bound still says something."""
    return optimal(run) and is_descent(run) and run.config.net.scale > largest_scale(run) and bound(run) < 1


F2, F11, F12 = (
    Source(paper=PAPER, figure=figure, of=where(study=study), stated=(STATED,))
    for figure, study in (("Figs. 2, 7", "depth"), ("Fig. 11", "scale"), ("Fig. 12", "init"))
)
T2 = Source(paper=PAPER, figure="Theorem 2, Cor. 1", of=where(study="theorem"))
START = "|D_0 / ((n-1) K/(K-1)) - 1| of orthogonal inputs"
RATE = "linear, mean loss 1e-12: |(D_{l+1}/D_l) / (eps^2/n^(1/L)) - 1|, l = 0..L-2"
LINE = "log D_l is linear in l: R^2 of the best line"
STEEPER = "a smaller eps gives a steeper line: its rate over that of the next larger eps"
OF_BOUND = "D_{l+1}/D_l over its bound 2 (sqrt K + 1) eps^2, l = 0..L-2, mean loss 1e-16"
HIDDEN = "hypothesis (ii), gradient flow: ||W_{l+1}^T W_{l+1} - W_l W_l^T||_F / eps^2, l <= L-2"
DEEPER = "'deeper networks yield greater feature separation': D_{L-1} over that of the next smaller depth"
LAST = "hypothesis (ii), gradient flow: ||W_L^T W_L - W_{L-1} W_{L-1}^T||_F over eps^2 sqrt(d - K)"
SPECTRUM = "hypothesis (iii), gradient flow: d - 2K singular values of each W_l, l < L: |sigma_i / eps - 1|"
BY_DEPTH, BY_SCALE, BY_INIT = ((differing_in(f"net.{field}"),) for field in ("depth", "scale", "init"))


def relu(id: str, loss: str, fits: Where) -> tuple[Law, ...]:
    """What is said of ReLU networks, at one mean loss: their line, its rate, and every layer by itself."""
    members = f"ReLU, mean loss {loss}, L = {{}}, members that reach it"
    return tuple(
        F2.law(f"F7.{name}{id}", f"{members}: {says}", expected, fits, each="net.depth", event=ended)
        for name, says, expected in (
            ("line", LINE, straight_ended > 0.95),
            ("rate", "rate of that line", rate_ended < 0.2),
            ("ratio", "largest D_{l+1}/D_l, l = 0..L-2", ratio_ended < 0.2),
        )
    )


LAWS = (
    # D_0 is known before anything is drawn.
    *(
        Source(paper=PAPER, figure=source.figure, of=source.of).check(f"{id}.start", START, off_start < 1e-12)
        for id, source in (("F2", F2), ("F11", F11), ("F12", F12), ("T2", T2))
    ),
    F2.law("F2.rate", RATE, off_law < 0.05, lawful, event=ended),
    F2.law("F2.line", f"linear, mean loss 1e-12: {LINE}", straight > 0.999, exact, event=ended),
    *relu("", "1e-8", settled),
    *relu("_drawn", "1e-6, as drawn", drawn_relu),
    *(
        F2.printed(
            f"F2.depth{id}",
            f"'the decay rate is independent of the depth L': largest over smallest rate (linear, mean loss {loss})",
            spread > 1.1,
            fits,
            event=ended,
            needs=BY_DEPTH,
            stated=(PRINTED,),
        )
        for id, loss, fits in (("", "1e-12", exact), ("_drawn", "1e-6, as drawn", drawn_linear))
    ),
    *(
        F2.law(id, f"{name}, mean loss {loss}: {DEEPER}", over_shallower < 1.0, fits, event=ended, needs=BY_DEPTH)
        for id, name, loss, fits in (("F2.deeper", "linear", "1e-12", exact), ("F7.deeper", "ReLU", "1e-6", drawn_relu))
    ),
    F11.law("F11.rate", RATE, off_law < 0.05, lawful, event=ended),
    F11.law("F11.linear", f"linear, mean loss 1e-12: {STEEPER}", steeper < 1.0, exact, event=ended, needs=BY_SCALE),
    F11.law(
        "F11.relu",
        f"ReLU, mean loss 1e-6, seeds that reach it at every eps: {STEEPER}",
        steeper_ended < 1.0,
        drawn_relu,
        event=ended,
        needs=BY_SCALE,
    ),
    F11.law(
        "F11.drawn",
        "mean loss 1e-6, as drawn: the rate is off the law eps^2/n^(1/L) (linear, smallest eps): by",
        off_rate > 0.05,
        smallest_drawn,
        event=ended,
        stated=(PRINTED,),
    ),
    F12.law("F12.line", f"linear, mean loss 1e-12, every init: {LINE}", straight > 0.99, exact, event=ended),
    F12.law(
        "F12.rate",
        "linear, mean loss 1e-12: rates of one seed under all inits, largest over smallest",
        spread < 1.3,
        exact,
        event=ended,
        needs=BY_INIT,
    ),
    *(
        F12.printed(
            f"F12.same{id}",
            f"'decays at the same rate' under all inits: largest over smallest of a seed (linear, mean loss {loss})",
            spread > 1.1,
            fits,
            event=ended,
            needs=BY_INIT,
            stated=(FIGURE_12,),
        )
        for id, loss, fits in (("", "1e-12", exact), ("_drawn", "1e-6, as drawn", drawn_linear))
    ),
    F12.law("F12.relu.line", f"ReLU, mean loss 1e-6, every init: {LINE}", straight > 0.95, drawn_relu, event=ended),
    F12.law(
        "F12.relu.rate",
        "ReLU, mean loss 1e-6: mean rates of the seeds under each init, largest over smallest",
        spread_of_means < 1.3,
        drawn_relu,
        event=ended,
        needs=BY_INIT,
    ),
    T2.law("T2.hidden", HIDDEN, measure(off_balance) < 1e-6, flows, event=ended),
    T2.law("T2.last", LAST, measure(last_imbalance) <= 1 + 1e-6, flows, event=ended),
    T2.law("T2.spectrum", SPECTRUM, measure(lambda run: run.last("unchanged")) < 1e-6, flows, event=ended),
    T2.law("T2.flow", f"{OF_BOUND}, gradient flow: all hypotheses", share_of_bound <= 1.0, flows, event=ended),
    T2.law("T2.within", f"{OF_BOUND}, descent with eps within (28)", share_of_bound <= 1.0, within, event=ended),
    T2.law(
        "T2.beyond", f"{OF_BOUND}, descent with a larger eps, bound < 1", share_of_bound <= 1.0, beyond, event=ended
    ),
)
SUMMARY = {
    "mean loss": final("loss"),
    "accuracy on the training data": final("accuracy"),
    "reached its tolerance": fraction_ended,
    "R^2 of the line": lambda run: fit(separation(run)).r_squared,
    "rate of the line": lambda run: fit(separation(run)).rate,
    "largest D_{l+1}/D_l": lambda run: ratios(run).max(1),
    "D_{L-1} / D_0": lambda run: ratios(run).prod(1),
    "largest D_{l+1}/D_l over Theorem 2's bound": of_bound,
    "largest imbalance of the hidden layers / eps^2": lambda run: (
        off_balance(run) if run.config.net.depth > 2 else None
    ),
    "imbalance of the last layer / (eps^2 sqrt(d - K))": lambda run: last_imbalance(run) if T2.of(run) else None,
    "|sigma_i / eps - 1|, d - 2K values of each layer": lambda run: run.last("unchanged") if T2.of(run) else None,
}
