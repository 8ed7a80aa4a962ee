"""The optimizers by name, as optax transformations: those that commute with rotations, and those of single entries."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import optax
from optax.contrib import MuonDimensionNumbers, muon

from lawlib.descent.preconditioners import projected_descent, shampoo
from lawlib.types import Rate

__all__ = ["METHODS", "Method", "Rates", "is_equivariant", "is_reducible"]


class Rates(NamedTuple):
    """The numbers that optimizers take: eta, mu, lambda, the norm c of clipping, the start of Shampoo's sums.

    ``beta_2`` is that of Adam, ``epsilon`` that of Adam, RMSprop and AdaGrad, ``rank`` GaLore's.
    """

    step_size: Rate
    momentum: Rate
    weight_decay: Rate
    clip: Rate
    start: Rate
    beta_2: Rate
    epsilon: Rate
    rank: int


class Method(NamedTuple):
    """An optimizer: its name in tables, whether a small network follows it, and the transformation for some rates."""

    title: str
    kind: str
    build: Callable[[Rates], optax.GradientTransformation]


# Our matrices are (out, in), and Muon's factor depends on which axis is which.
ORIENTED = MuonDimensionNumbers(1, 0)
SMALL, WHOLE, ENTRIES = "equivariant, with a small network", "equivariant", "entrywise"

METHODS: Mapping[str, Method] = {
    "gd": Method("GD", SMALL, lambda to: optax.sgd(to.step_size)),
    "coupled": Method(
        "GD with coupled decay",
        SMALL,
        lambda to: optax.chain(optax.add_decayed_weights(to.weight_decay), optax.sgd(to.step_size, to.momentum)),
    ),
    "decoupled": Method(
        "GD with decoupled decay",
        SMALL,
        lambda to: optax.chain(
            optax.trace(to.momentum), optax.add_decayed_weights(to.weight_decay), optax.scale(-to.step_size)
        ),
    ),
    "heavy_ball": Method("heavy ball", SMALL, lambda to: optax.sgd(to.step_size, to.momentum)),
    "nesterov": Method("Nesterov", SMALL, lambda to: optax.sgd(to.step_size, to.momentum, nesterov=True)),
    "clipped": Method(
        "clipped GD", SMALL, lambda to: optax.chain(optax.clip_by_global_norm(to.clip), optax.sgd(to.step_size))
    ),
    "muon": Method("Muon", SMALL, lambda to: muon(to.step_size, muon_weight_dimension_numbers=ORIENTED)),
    "shampoo": Method("Shampoo", SMALL, lambda to: shampoo(to.step_size, start=to.start)),
    "galore": Method("GaLore", WHOLE, lambda to: projected_descent(to.step_size, rank=to.rank)),
    # The factor 1 + epsilon is 1 for the epsilon in use. Where epsilon is swept beyond the gradients' entries Adam
    # tends to momentum of step eta, in place of standing still.
    "adam": Method(
        "Adam",
        ENTRIES,
        lambda to: optax.adam(to.step_size * (1 + to.epsilon), b2=to.beta_2, eps=to.epsilon),
    ),
    "rmsprop": Method("RMSprop", ENTRIES, lambda to: optax.rmsprop(to.step_size, eps=to.epsilon)),
    "adagrad": Method(
        "AdaGrad",
        ENTRIES,
        lambda to: optax.adagrad(to.step_size, initial_accumulator_value=0.0, eps=to.epsilon),
    ),
    "sign": Method("sign descent", ENTRIES, lambda to: optax.sign_sgd(to.step_size)),
}


def is_equivariant(name: str) -> bool:
    """Whether the method of this name commutes with rotations."""
    return METHODS[name].kind != ENTRIES


def is_reducible(name: str) -> bool:
    """Whether ``compress.transformed`` has a small network for it."""
    return METHODS[name].kind == SMALL
