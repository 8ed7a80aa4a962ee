"""What a diagnosis keeps and what it finds, as plain data; the report prints."""

import math
from typing import NamedTuple

from lawlib.diagnose.layers import Plan
from lawlib.diagnose.tables import Table, exact, marked, percent, plain, short
from lawlib.linalg.spectra import Certified
from lawlib.linalg.subspaces import SubspaceSum
from lawlib.types import Array, Bool, Float, Int, Scalar

__all__ = ["HeldOut", "LayerReport", "LayerStart", "Report", "Shares", "Start"]


class LayerStart(NamedTuple):
    """A layer at the start: a copy of its weights W (m, n), the K leading triplets of its gradient, and S_big.

    ``inputs`` has the basis of S_big among the inputs (m, min(2K, m)), ``outputs`` that among the outputs
    (n, min(2K, n)). They are as well determined as ``gradient.certified`` and their ``kept`` say.
    """

    weights: Float[Array, "m n"]
    gradient: Certified
    inputs: SubspaceSum
    outputs: SubspaceSum


class Start(NamedTuple):
    """What ``before`` finds: the plan, each layer by name, and the optimizer's defect, or None without an optimizer."""

    plan: Plan
    layers: dict[str, LayerStart]
    defect: Scalar | None


class Shares(NamedTuple):
    """The shares of ||M||_F^2 that lie in subspaces of the inputs (rows), of the outputs (columns), and in both.

    With projectors P and Q: ||P M||^2, ||M Q||^2 and ||P M Q||^2 over ||M||^2; NaN for M = 0.
    """

    inputs: Scalar
    outputs: Scalar
    both: Scalar


class LayerReport(NamedTuple):
    """What is found about a layer W (m, n) and its change D = W - W(0).

    ``values`` are the K leading singular values of the gradient at the start, ``gap`` = (sigma_K - sigma_{K+1}) /
    sigma_1 (the next value is an upper estimate), ``bound`` and ``certified`` those of ``block_krylov_svd``. ``big``
    are the shares of D in S_big, ``random`` and ``spread`` mean and standard deviation of those in random subspaces of
    the same dimensions. ``moved`` = ||D||_F / ||W(0)||_F. A stable rank is ||M||_F^2 / sigma_1^2. ``changes`` are
    the leading singular values of D, the largest first, and ``kept`` the share of ||D||_F^2 in its approximation of
    each rank. With n the smaller side, the square of a value is off by at most about 2 sqrt(n) eps sigma_1^2: a value s
    by about sqrt(n) eps sigma_1^2 / s, and one below sqrt(2 sqrt(n) eps) sigma_1 by up to its own size. Shares and
    ranks of D are NaN if D = 0; those in S_big also if the gradient at the start is 0.
    """

    values: Float[Array, " K"]
    gap: Scalar
    bound: Scalar
    certified: Bool[Array, ""]
    big: Shares
    random: Shares
    spread: Shares
    moved: Scalar
    stable_rank_start: Scalar
    stable_rank: Scalar
    stable_rank_change: Scalar
    changes: Float[Array, " s"]
    kept: Float[Array, " R"]


class HeldOut(NamedTuple):
    """Means over the held-out batches: of the trained network, and of the one in which all layers change less.

    ``without`` is that with the layers' weights of the start and all other leaves as trained, ``in_big`` that with
    each change projected on S_big of inputs and outputs, ``at_ranks`` those with each change cut to each rank.
    """

    trained: Scalar
    without: Scalar
    in_big: Scalar
    at_ranks: Float[Array, " R"]


class Report(NamedTuple):
    """What ``after`` finds: the layers by name, the held-out losses, and the rank that they recommend.

    ``recommended`` is the smallest of ``ranks`` with loss(rank) - trained <= tolerance (without - trained), or 0 where
    there is none or the change of the layers does not lower the loss. ``print(report)`` prints a table of text;
    ``markdown()`` returns one for documents. Both need values, outside jit.
    """

    plan: Plan
    layers: dict[str, LayerReport]
    ranks: Int[Array, " R"]
    held_out: HeldOut
    tolerance: Scalar
    recommended: Int[Array, ""]
    defect: Scalar | None

    def __str__(self) -> str:
        """The tables as text in columns, and the recommendation."""
        return "\n\n".join([plain(self._layers()), plain(self._losses()), "\n".join(self._notes())])

    def markdown(self) -> str:
        """The tables in markdown, and the recommendation."""
        return "\n\n".join([marked(self._layers()), marked(self._losses()), *self._notes()]) + "\n"

    def _layers(self) -> Table:
        ranks = [f"rank {rank}" for rank in self.ranks.tolist()]
        head = ["layer", "matrix", "gap", "certified", "in S_big", "in random", "inputs in S_big", "in random", "moved"]
        head += ["stable rank", "of change", *ranks]
        rows = [_row(name, one, self.plan.sizes()[name]) for name, one in self.layers.items()]
        return Table(head, rows)

    def _losses(self) -> Table:
        found = self.held_out
        rows = [
            ["trained", exact(found.trained)],
            ["layers as at the start", exact(found.without)],
            ["change in S_big", exact(found.in_big)],
        ]
        each = zip(self.ranks.tolist(), found.at_ranks, strict=True)
        return Table(["network", "held-out loss"], rows + [[f"change of rank {r}", exact(loss)] for r, loss in each])

    def _notes(self) -> list[str]:
        notes = [self._recommendation()]
        if self.defect is not None:
            notes.append(
                f"The optimizer is off from commuting with rotations by {short(self.defect)}: gradient descent, which "
                "the laws of small subspaces are about, by 0, and Adam by 0.4."
            )
        if self.plan.left_out:
            notes.append(f"Not covered, smaller than K = {self.plan.k}: {', '.join(self.plan.left_out)}.")
        if self.plan.unread:
            why = "since the loss does not multiply by them, or not by the same axes each time"
            notes.append(f"Not covered, {why}: {', '.join(self.plan.unread)}. Name them by matrices={{...}}.")
        return notes

    def _recommendation(self) -> str:
        found, rank, ranks = self.held_out, int(self.recommended), self.ranks.tolist()
        part = percent(self.tolerance)
        if rank:
            loss = exact(found.at_ranks[ranks.index(rank)])
            return (
                f"Recommended rank: {rank}. The held-out loss is {loss} with each change cut to it, against "
                f"{exact(found.trained)} as trained and {exact(found.without)} without the changes; {part} of their "
                "difference is tolerated."
            )
        if not math.isfinite(found.trained):
            return f"No rank is recommended: the held-out loss of the trained network is {found.trained}."
        if not found.without > found.trained:
            return "No rank is recommended: the change of the layers does not lower the held-out loss."
        return f"No rank is recommended: none of {ranks} has a held-out loss within {part} of what the changes gain."


def _row(name: str, one: LayerReport, shape: tuple[int, int]) -> list[str]:
    return [
        name,
        f"{shape[0]} x {shape[1]}",
        short(one.gap),
        "yes" if one.certified else "no",
        percent(one.big.both),
        _with_spread(one.random.both, one.spread.both),
        percent(one.big.inputs),
        _with_spread(one.random.inputs, one.spread.inputs),
        percent(one.moved),
        short(one.stable_rank),
        short(one.stable_rank_change),
        *(percent(share) for share in one.kept),
    ]


def _with_spread(mean: Scalar, spread: Scalar) -> str:
    return percent(mean) if math.isnan(mean) else f"{percent(mean)} ± {percent(spread)}"
