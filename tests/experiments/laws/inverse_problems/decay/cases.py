"""Made-up results of both errors' decay: plateaus of the scalar minimizers, errors that fall as exp(-(L + 1) x / 2)."""

import numpy as np
from inverse_problems.made_up import after, altered, breaks, linear, members_of, replaced, rules, scaled
from synthetic import Case

SEEDS = ("num_seeds=2",)
CASES = {
    "dimension": Case("inverse_dimension", SEEDS, frozenset({"W1.rounding"})),
    "depth": Case("inverse_depth", SEEDS, frozenset({"W1.rounding", "F3.factor"})),
    "depth, as printed": Case("inverse_depth", SEEDS, frozenset({"W1.rounding"}), "paper"),
    "decay": Case("inverse_decay", SEEDS),
}


def at_rest(rho, decay, depth):
    """(1 - q) = lambda rho^(-2/L) q^(2/L-1) by fixed-point iteration; the root mean square of 1 - q."""
    q = np.ones_like(rho)
    for _ in range(30):
        q = 1 - decay * rho ** (-2 / depth) * q ** (2 / depth - 1)
    return np.sqrt(np.mean((1 - q) ** 2, axis=1))


def lawful(config):
    """Observations of members that obey every law, members first and times second."""
    times, decay = members_of(config)
    if config.study == "compression":
        marks = {"converged_at": np.full(len(decay), -1), "diverged_at": np.full(len(decay), -1)}
        return marks | {"weight_gap": np.full((len(decay), len(times)), 1e-15)}
    opt, depth, rho = config.opt, config.net.depth, np.linspace(0.8, 1.2, config.data.subspace_dimension)
    own = decay / opt.rescaling_decay if opt.rescaling_decay else np.ones_like(decay)
    # Deeper networks take more steps; with its own horizon a decay ten times as large takes a tenth of the steps.
    pace = {"depth": (5 / depth) ** 2, "decay": 5.0 if opt.rescaling_decay else 1e3 * decay}.get(config.study, 1.0)
    x = (opt.horizon or 1.0) * own[:, None] * np.minimum(np.outer(pace * np.ones_like(own), times / times[-1]), 1.0)
    rise = 1 - 0.5 * np.exp(-x)
    plateaus = at_rest(rho[None, :], decay[:, None], depth)[:, None]
    seen = linear(x, np.ones(len(rho)), sharpness=12.0 if config.study == "printed" else 1.5) | {
        "regression_error": np.where(
            decay[:, None] > 0,
            plateaus * rise / rise[:, -1:] + np.exp(-1e4 * depth * x),
            np.where(times > 0, 1e-14, 1.0),
        ),
        "off_subspace_error": np.exp(-x * (depth + 1) / 2),
        "measured_values": np.broadcast_to(rho, (*x.shape, len(rho))),
        "converged_at": np.full(len(decay), times[-1]),
    }
    return seen | ({"diverged_at": np.full(len(decay), 7)} if config.study == "printed" else {})


def at_its_end(values):
    return np.full_like(values, values[-1])


def shifted(values, places):
    """What is seen ``places`` observations later."""
    return values[np.clip(np.arange(len(values)) + places, 0, len(values) - 1)]


# The last member has the last seed and the largest weight decay; of `common`, the sixth from the end has none.
FIT, OFF, LAYER = "regression_error", "off_subspace_error", "law_deviation"
EVERY, OF_S = slice(None), ("F2.fit", "F2.slope", "F2.apart", "F2.offset")
SPEEDS = ("S4.time", "S4.time_off", "S4.steps", "S4.steps_off")
BREAKS = breaks(
    s_matters=("dimension", scaled("s32", FIT, 1.4, EVERY), "F2.fit"),
    s_changes_the_slope=("dimension", altered("s32", OFF, lambda values: values**1.2, EVERY), "F2.slope", "F2.offset"),
    s_changes_the_factor=("dimension", scaled("s32", OFF, 2.6, EVERY), "F2.apart"),
    diverged_s=(
        "dimension",
        replaced("s8", "diverged_at", 17),
        "F2.fit",
        "F2.slope",
        "F2.apart",
        "F2.offset",
        "W1.exact",
    ),
    depths_fit_otherwise=("depth", altered("L5_early", FIT, lambda values: 1.33 * values, EVERY, 0), "F3.levels"),
    plateau_of_depth=("depth", scaled("L5_rest", FIT, 1.02), "F3.plateau"),
    no_rise_of_depth=("depth", altered("L5_rest", FIT, at_its_end, since=0), "F3.rise"),
    five_lambda=("depth, as printed", scaled("L5_rest", FIT, 4.5), "F3.plateau", "F3.factor"),
    order=("depth", scaled("L5_early", OFF, 1.5), "F3.order", "S4.time_off"),
    deep_fits_late=("depth", altered("L5_early", FIT, lambda values: shifted(values, -4)), "S4.time"),
    deep_fits_soon=("depth", altered("L5_early", FIT, lambda values: shifted(values, 4)), "S4.steps"),
    deep_halves_soon=("depth", altered("L5_early", OFF, lambda values: values**3), "S4.steps_off"),
    more_steps_per_accuracy=("decay", altered("rest", OFF, lambda values: values**1.2), "S2.accuracy"),
    diverged_depth=("depth", replaced("L3_early", "diverged_at", 17), "F3.order", "F3.levels", "W1.exact", *SPEEDS),
    plateau=("decay", scaled("rest", FIT, 1.02), "F4.plateau"),
    no_rise=("decay", altered("rest", FIT, at_its_end, since=0), "F4.rise"),
    five_lambda_of_decay=("decay", scaled("rest", FIT, 4.5), "F4.plateau", "F4.factor", "S2.accuracy"),
    more_decay_no_less=("decay", scaled("common", OFF, 1e12), "F4.order"),
    not_kept=("decay", scaled("common", OFF, 1.1, -6), "F4.kept"),
    not_fitted=("decay", scaled("common", FIT, 1e3, -6), "F4.fit"),
    diverged=(
        "decay",
        replaced("rest", "diverged_at", 17),
        "F4.plateau",
        "F4.rise",
        "F4.factor",
        "S2.accuracy",
        "W1.exact",
    ),
    diverged_early=("decay", replaced("common", "diverged_at", 17, -2), "F4.order", "W1.exact"),
    first_layer=("decay", replaced("common", LAYER, 2e-10), "W1.exact", "W1.rounding"),
    rounding=("decay", after("common", 12.0, LAYER, 1e-6), "W1.rounding"),
    stable_as_printed=("decay", replaced("printed", "diverged_at", -1), "F3/4.eta"),
    late_as_printed=("decay", replaced("printed", "diverged_at", 11), "F3/4.eta"),
    samples=("decay", replaced("samples", "weight_gap", 1e-9), "C1.samples"),
    isometric=("decay", replaced("rest", "isometry", 0.09), "A2.rip"),
)
S, M = "data.subspace_dimension", "data.num_measurements"
OUTSIDE, MOVING = "or nothing lies off the subspace", "a horizon is reached on the rescaled time eta lambda t"
STABLE = "must be below 2 in units of 1 / lambda_max(P(0)), or descent diverges"
RULES = rules(
    ("inverse_dimension", {S: 8, "data.num_samples": 7}, f"{S} = 8: must be at most data.num_samples = 7"),
    ("inverse_dimension", {S: 128}, f"{S} = 128: must be below {M} = 128, {OUTSIDE}"),
    ("inverse_depth", {"data.dimension": 32}, f"{M} = 32: must be below data.dimension = 32"),
    (
        "inverse_depth",
        {"data.condition_number": 0.5},
        "data.condition_number = 0.5: must be a finite number >= 1.0",
    ),
    ("inverse_depth", {"opt.step_size": 2.0}, f"opt.step_size = 2.0: {STABLE}"),
    (
        "inverse_depth",
        {"opt.weight_decay": 0.0},
        f"opt.rescaling_decay = 0.0: must be positive where opt.weight_decay is 0: {MOVING}",
    ),
)
