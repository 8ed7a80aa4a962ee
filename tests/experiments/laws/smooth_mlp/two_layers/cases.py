"""Made-up results of smooth two-layer MLPs: gradients that decay as the laws say, and what breaks each law."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid
from lawlib.networks.activations import ACTIVATIONS

CASES = {
    "theorem": Case("mlp_theorem"),
    "epsilon": Case("mlp_epsilon"),
    # So far below that rounding decides what changes outside of S_big.
    "far below": Case(
        "mlp_epsilon",
        ("num_seeds=2", "sweep.net.scale=1e-200,1e-199"),
        frozenset({f"E.{law}[{name}]" for law in ("slope", "random") for name in ("GELU", "ReLU")} | {"E.bound[GELU]"}),
        "smoke",
    ),
    "decay": Case("mlp_gradient_decay"),
    "tail": Case("mlp_gradient_tail"),
}
TARGET = np.array([44.0, 43.0, 42.0, 41.0])


def lawful(config):
    """Observations, members first and times second, of networks that keep every law."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    n, d, net = len(members.seeds), config.data.dimension, config.net
    scale = members.hyperparameters.get("net.scale", np.full(n, net.scale))[:, None]
    phi = ACTIVATIONS[net.activation]
    slope, power = (phi.slope_at_zero, 2 if phi.name == "tanh" else 1) if phi.is_smooth else (0.5, 0)
    decay = 0.95**times + 0.01 + 2e-6 * np.maximum(times - 150, 0)
    tail = np.ones(len(times)) * 0.05 * 41 * scale**power
    values = np.empty((n, len(times), d))
    values[..., :4] = slope * TARGET * (decay / decay[0])[:, None]
    values[..., 4:] = tail[..., None]
    values[..., -1] *= 0.9
    constant = np.ones((n, len(times)))
    seen = {
        "loss": constant,
        "largest_residual": constant,
        "gradient_values": values,
        "converged_at": np.full(n, -1),
        "diverged_at": np.full(n, -1),
    }
    seen["target_values"] = np.zeros_like(values)
    seen["target_values"][..., :4] = TARGET
    if net.init == "normal":
        return seen | {"relu_bound": {72: 0.0, 4096: 0.3, 8192: 0.8}[net.width] * values[..., d - 5]}
    if phi.is_smooth:
        seen["spread"] = constant * 0.2 * 41 * slope * scale
    return seen | (lawful_blocks(config, times, values, scale) if config.study in ("theorem", "epsilon") else {})


def lawful_blocks(config, times, values, scale):
    """The observations of the theorem's study only."""
    p, eta, changed = config.data.dimension - 8, config.opt.step_size, (times > 0)[:, None]
    constant = np.ones(values.shape[:2])
    turned = 2 * (1 - np.exp(-((times / 60) ** 4))) * constant
    bound = eta * np.sqrt((values[..., 0] * turned) ** 2 / p + values[..., 4] ** 2)
    gap = values[:, :1, 3] - values[..., 4]
    seen = {
        "blocks": constant[..., None] * changed * np.array([0.995, 0.002, 0.002, 0.001]),
        "random_blocks": constant[..., None] * changed * np.array([0.1, 0.3, 0.3, 0.3]),
        "weight_blocks": scale[..., None] ** 2 * constant[..., None] * np.array([8.0, 0.0, 0.0, p]),
        "step_distances": bound[..., None] * np.array([0.8, 0.7, 0.1]),
        "random_step_distances": constant[..., None] * np.array([0.08, 0.07, 0.01]),
        "step_bound": bound,
        "left_sine": turned,
        "right_sine": 0.9 * turned,
        "gradient_change": turned * gap / 0.8,
        "wedin_bound": turned / 0.9,
    }
    return seen | ({"lipschitz": 50 * constant} if ACTIVATIONS[config.net.activation].is_smooth else {})


# What breaks the laws, in one member. ---------------------------------------------------------------------------------


def scaled(variant, field, factor, place=(), member=-1, plus=0.0):
    """Multiply an observation of one member of a variant, at a place or everywhere, and add to it."""

    def change(name, seen):
        if name == variant:
            seen[field] = np.array(seen[field])
            seen[field][(member, *place)] = factor * seen[field][(member, *place)] + plus

    return change


def all_scaled(variant, fields, factor, step):
    """Multiply several observations of a step, which belong together."""
    changes = [scaled(variant, field, factor, (step,)) for field in fields]
    return lambda name, seen: [change(name, seen) for change in changes]


def monotone(name, seen):
    """A gradient that decays for ever."""
    if name == "gelu":
        values = seen["gradient_values"]
        values *= (0.98 ** np.arange(values.shape[1]))[:, None]


def diverged(name, seen):
    if name == "relu":
        seen["diverged_at"][-1] = 7


BLOCKS, ANGLES = ("step_bound", "step_distances"), ("left_sine", "gradient_change", "wedin_bound")
ALGEBRA = ("D11.start", "D11.first[ReLU]", "Wedin.17[ReLU]", "Wedin.D5[ReLU]")
THEOREM = {
    "block 1 at 100": (scaled("elu", "blocks", 0.4, (100, 0)), "F3.100[ELU]"),
    "block 1 at 250": (scaled("silu", "blocks", 0.1, (250, 0)), "F3.250[SiLU]"),
    "start": (scaled("gelu", "weight_blocks", 1.0, (0, 1), plus=1e-26), "D11.start"),
    "idle block": (scaled("gelu", "weight_blocks", 1 + 3e-12, (0, 3)), "D11.start"),
    "a step": (scaled("relu", "step_distances", 1.251, (40, 0)), "D11.first[ReLU]"),
    "late news": (all_scaled("elu", BLOCKS, 0.3, 120), "D11.ends[ELU]"),
    "loose": (scaled("gelu", "step_distances", 0.7), "D11.tight[GELU]"),
    "no p lacks": (scaled("gelu", "step_distances", 0.16), "D11.tight[GELU]", "D11.proof"),
    "too long a step": (scaled("elu", "lipschitz", 2.01, (3,)), "D11.step_size"),
    "large eps": (scaled("silu", "spread", 300.0), "D11.scale"),
    "first rate": (all_scaled("gelu", BLOCKS, 2.1, 0), "D11.second_0"),
    "rate": (all_scaled("gelu", BLOCKS, 200.0, 1), "D11.second[GELU]"),
    "delta": (scaled("gelu", "lipschitz", 0.02), "D9[GELU]", "D11.second[GELU]"),
    "no delta": (scaled("silu", "lipschitz", np.nan), "D11.step_size", "D9[SiLU]", "D11.second[SiLU]"),
    "too little turned": (scaled("silu", "left_sine", 0.94), "A.250[SiLU]"),
    "not aligned at first": (all_scaled("silu", ANGLES, 400.0, 10), "A.10[SiLU]"),
    "turned too soon": (all_scaled("elu", ANGLES, 50.0, 20), "A.decayed[ELU]"),
    "interval": (scaled("elu", "target_values", 1.0, (0, 2), plus=0.1), "D8[ELU, eps=0.01]"),
    "Wedin": (scaled("relu", "gradient_change", 0.79, (200,)), "Wedin.17[ReLU]"),
    "sharper Wedin": (scaled("gelu", "wedin_bound", 0.89, (1,)), "Wedin.D5[GELU]"),
    "diverged": (diverged, *ALGEBRA),
}
EPSILON = {
    # The last member has the largest eps.
    "not linear": (scaled("gelu", "step_distances", 1.2, (0,)), "E.slope[GELU]"),
    "not square": (scaled("tanh", "step_distances", 1.2, (0,)), "E.slope[tanh]"),
    "ReLU's step falls": (scaled("leaky_relu", "step_distances", 1.2, (0,)), "E.slope[Leaky ReLU]"),
    "random, not constant": (scaled("elu", "random_step_distances", 1.2, (0,)), "E.random[ELU]"),
    "above r(eps)": (scaled("silu", "spread", 1e-3, member=slice(None)), "E.bound[SiLU]"),
}
SLOW = scaled("gelu", "gradient_values", 6.0, (slice(90, None), 3), -2)
RISING = scaled("gelu", "gradient_values", 1.2, (slice(200, None), slice(0, 4)), -2)
DECAY = {
    "no decay": (scaled("elu", "gradient_values", 1.06, (60,), -2), "F12.early[ELU]"),
    "a late jump": (scaled("silu", "gradient_values", 1.002, (200,), -2), "F12.late[SiLU]"),
    "one slow value": (SLOW, "F12.early[GELU]", "F12.values[GELU]", "F12.leading[GELU]"),
    "monotone": (monotone, "F12.monotone[GELU]", "F12.rate[GELU]"),
    "a value that rises": (RISING, "F12.late[GELU]", "F12.leading[GELU]"),
    "a large tail": (scaled("gelu", "gradient_values", 2.1, (slice(None), 4)), "F13[GELU, eps=0.1]"),
}
ORDERS = [f"F11.order[ReLU, eps={scale}]" for scale in (0.001, 0.01, 0.1)]
TAIL = {
    "not linear": (scaled("gelu", "gradient_values", 1.3, (0, 10)), "F11.tail[GELU]"),
    "not square": (scaled("tanh", "gradient_values", 1.7, (0, -1)), "F11.tail[tanh]"),
    "ReLU's tail": (scaled("relu", "gradient_values", 1.4, (0, 62)), "F11.tail[ReLU]"),
    "the lead": (scaled("relu", "gradient_values", 1.11, (0, 1)), "F11.leading[ReLU]"),
    "ReLU's least": (scaled("relu", "gradient_values", 1.2, (0, -1), slice(None)), *ORDERS),
    "interval": (scaled("silu", "spread", 0.49), "D8[SiLU, eps=0.1]"),
    "violated": (scaled("bound_d64_m4096", "relu_bound", 4.0), "B1"),
    "vacuous": (scaled("bound_d32_m8192", "relu_bound", 0.0), "B1.positive"),
    "above": (scaled("bound_d32_m8192", "relu_bound", 1.26), "B1", "B1.below"),
}
BREAKS = {
    f"{case}: {what}": Break(case, change, frozenset(ids))
    for case, breaks in (("theorem", THEOREM), ("epsilon", EPSILON), ("decay", DECAY), ("tail", TAIL))
    for what, (change, *ids) in breaks.items()
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

THEOREM_RULES = {
    "precision": ({"precision": "float32"}, "precision = 'float32': must be one of 'float64'"),
    "scale": ({"net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
    "activation": (
        {"net.activation": "rrelu"},
        "net.activation = 'rrelu': must be one of 'elu', 'gelu', 'silu', 'tanh', 'relu', 'leaky_relu'",
    ),
    "classes": (
        {"data.num_classes": 32, "data.num_samples": 320},
        "data.dimension = 64: must exceed 2 * data.num_classes = 64, or no S_small is left",
    ),
    "balance": ({"data.num_samples": 1001}, "data.num_samples = 1001: must be a multiple of data.num_classes = 4"),
    "samples": ({"data.num_samples": 60}, "data.num_samples = 60: must be at least data.dimension = 64 to be whitened"),
    "width": ({"net.width": 63}, "net.width = 63: must be at least data.dimension = 64"),
    "normal": (
        {"net.init": "normal", "net.activation": "relu", "data.num_samples": 64},
        "net.init = 'normal': is Proposition B.1's, for study = 'tail' only",
    ),
}
TAIL_RULES = {
    "failure": ({"bound.failure": 1.0}, "bound.failure = 1.0: must be a finite number > 0.0 and < 1.0"),
    "smooth": (
        {"net.init": "normal", "data.num_samples": 64},
        "net.activation = 'gelu': must be 'relu' for Proposition B.1",
    ),
    "square": (
        {"net.init": "normal", "net.activation": "relu"},
        "data.num_samples = 1000: must be 64 = data.dimension for Proposition B.1",
    ),
}
RULES = {name: Rule("mlp_theorem", *rule) for name, rule in THEOREM_RULES.items()}
RULES |= {name: Rule("mlp_gradient_tail", *rule) for name, rule in TAIL_RULES.items()}
