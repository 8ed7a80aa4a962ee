"""Made-up results of deep smooth networks: changes that lie where the claims say, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid
from lawlib.networks.activations import ACTIVATIONS

CASES = {name: Case(f"mlp_{name}") for name in ("spectra", "deep", "optimizers", "symmetry")}
# Block 1's share in each layer; with Muon ELU has no majority in layer 1 at first.
SHARES = {
    "elu": {"sgd": (0.95, 0.96, 0.97), "adam": (0.6, 0.7, 0.8), "muon": (0.55, 0.8, 0.9)},
    "gelu": {"sgd": (0.7, 0.8, 0.9), "adam": (0.45, 0.7, 0.8), "muon": (0.2, 0.45, 0.6)},
}
SHARES = {name: shares | {"shampoo": (0.3, 0.8, 0.9), "sign": (0.5, 0.7, 0.8)} for name, shares in SHARES.items()}


def lawful(config):
    """Observations, members first and times second, of networks that change as the claims say."""
    times, n = observation_times(config), len(grid(config.num_seeds, hyperparameters(config), "float64").seeds)
    series, d = (n, len(times)), config.data.dimension
    seen = {"loss": np.tile(2 * np.exp(-times / 100), (n, 1)), "accuracy": np.ones(series)}
    seen |= {"start_gradient": np.tile([1.0, 1e-2, 1e-8], (*series, 1))}
    if config.study == "spectra":
        is_smooth = ACTIVATIONS[config.net.activation].is_smooth
        middle = 0.1 * times / 100 if is_smooth else 2 + times / 1000
        seen |= {
            name: np.broadcast_to(middle[None, :, None, None], (*series, 3, 2)).copy() for name in ("middle", "top")
        }
        values = 1 + (1e-4 if is_smooth else 1e-3) * times[None, :, None, None] * np.ones((n, 1, 3, d))
        seen |= {"bottom": seen["top"].copy(), "singular_values": values}
    else:
        deep = config.study == "deep" or config.data.source == "digits"
        share = np.array((0.98,) * 3 if deep else SHARES[config.net.activation][config.opt.method])
        blocks = np.stack([share, *[(1 - share) / 3] * 3], axis=1)
        seen |= {"fractions": np.tile(blocks, (*series, 1, 1)), "random_fractions": np.full((*series, 3, 4), 0.25)}
        if (config.net.activation, config.opt.method) == ("elu", "muon"):
            seen["fractions"][:, times <= 24, 0] = [0.4, 0.2, 0.2, 0.2]
        seen["fractions"][:, 0] = np.nan
    return seen | {"converged_at": np.full(n, -1), "diverged_at": np.full(n, -1)}


def put(variant, field, place, value, member=-1):
    """Set a value of the last member, or of all (``slice(None)``)."""

    def change(name, seen):
        if name == variant:
            seen[field][(member, *place)] = value

    return change


EVERY, LAST_1, LAST_2 = slice(None), (-1, 0, 0), (-1, 1, 0)
SPECTRA = {
    "smooth at 100": (put("gelu", "middle", (100, 1, 0), 0.151), "F8.smooth.100"),
    "smooth at 300": (put("silu", "middle", (300, 2, 1), 1.01), "F8.smooth.300"),
    "smooth at a loss": (put("elu", "middle", (60, 0, 1), 0.36), "F8.smooth.matched"),
    "not smooth at 100": (put("relu", "middle", (100, 2, 0), 1.89), "F8.kinked.100"),
    "not smooth at 300": (put("rrelu", "middle", (300, 0, 0), 2.19), "F8.kinked.300"),
    "not smooth at a loss": (put("leaky_relu", "middle", (60, 1, 1), 1.49), "F8.kinked.matched"),
    "values that move": (put("silu", "singular_values", (300, 2, 4), 1.16), "F1.smooth"),
    "values of the top K": (put("silu", "singular_values", (300, 2, 3), 1.16),),
    "values that stay": (put("rrelu", "singular_values", (300,), 1.24), "F1.kinked"),
    "no such loss": (put("elu", "loss", (slice(1, None),), 2.0), "F8.smooth.matched"),
}
ELU_D32, GELU_ADAM = ("F4.mean[ELU, d=32]", "F4.worst[ELU, d=32]"), ("F5.mean[GELU, Adam]", "F5.worst[GELU, Adam]")
DEEP = {
    "one": (put("gelu_d32", "fractions", LAST_2, 0.96), "F4.worst[GELU, d=32]"),
    "all": (put("elu_d32", "fractions", LAST_2, 0.96, EVERY), *ELU_D32),
    "diverged": (put("elu_d32", "diverged_at", (), 7), *ELU_D32),
}
OPTIMIZERS = {
    "momentum": (put("elu_sgd", "fractions", (-1, 2, 0), 0.89), "F5.worst[ELU, SGD]"),
    "adam": (put("gelu_adam", "fractions", LAST_1, 0.39), "F5.worst[GELU, Adam]"),
    "adam, all": (put("gelu_adam", "fractions", LAST_1, 0.39, EVERY), *GELU_ADAM),
    "order": (put("gelu_muon", "fractions", LAST_1, 0.46), "F5.order.worst[GELU]"),
    "order, all": (
        put("gelu_muon", "fractions", LAST_1, 0.46, EVERY),
        "F5.order.mean[GELU]",
        "F5.order.worst[GELU]",
    ),
    "majority": (put("gelu_adam", "fractions", LAST_1, 0.51, EVERY), "F5.majority.1[GELU, Adam]"),
    "majority of layer 2": (put("gelu_muon", "fractions", LAST_2, 0.51, EVERY), "F5.majority.2[GELU, Muon]"),
    "no majority elsewhere": (put("gelu_muon", "fractions", (-1, 2, 0), 0.49), "F5.majority.rest[GELU, Muon]"),
    "early majority": (put("elu_muon", "fractions", (5, 0, 0), 0.51, EVERY), "F5.majority.early[ELU, Muon]"),
    "no late majority": (put("elu_muon", "fractions", (16, 0, 0), 0.49), "F5.majority.late[ELU, Muon]"),
}
# The loss is 0.55 of its start first at step 60.
SYMMETRY = {
    "adam first": (put("elu_adam", "fractions", (60, 0, 0), 0.96), "S.gd[ELU]"),
    "shampoo second": (put("gelu_shampoo", "fractions", (60, 0, 0), 0.46), "S.shampoo[GELU]"),
    "another step": (put("gelu_shampoo", "fractions", (61, 0, 0), 0.46),),
    "another layer": (put("gelu_shampoo", "fractions", (60, 1, 0), 0.99),),
    "never at that loss": (put("elu_sgd", "loss", (slice(1, None),), 2.0), "S.gd[ELU]"),
}
BREAKS = {
    f"{case}: {what}": Break(case, change, frozenset(ids))
    for case, breaks in (("spectra", SPECTRA), ("deep", DEEP), ("optimizers", OPTIMIZERS), ("symmetry", SYMMETRY))
    for what, (change, *ids) in breaks.items()
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

KNOWN = "'elu', 'gelu', 'silu', 'tanh', 'relu', 'leaky_relu', 'rrelu'"
RULES = {
    name: Rule("mlp_deep", fields, line)
    for name, (fields, line) in {
        "study": ({"study": "deeper"}, "study = 'deeper': must be one of 'spectra', 'deep', 'optimizers', 'symmetry'"),
        "depth": ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
        "activation": ({"net.activation": "sine"}, f"net.activation = 'sine': must be one of {KNOWN}"),
        "last": ({"net.last": "zero"}, "net.last = 'zero': must be one of 'orthogonal', 'uniform'"),
        "method": (
            {"opt.method": "lion"},
            "opt.method = 'lion': must be one of 'sgd', 'adam', 'muon', 'shampoo', 'sign'",
        ),
        "loss": ({"opt.loss": "hinge"}, "opt.loss = 'hinge': must be one of 'squared', 'cross_entropy'"),
        "momentum": ({"opt.momentum": 1.0}, "opt.momentum = 1.0: must be a finite number >= 0.0 and < 1.0"),
        "batch": ({"opt.batch_size": 1001}, "opt.batch_size = 1001: must be at most data.num_samples = 1000"),
        "classes": (
            {"data.num_classes": 40},
            "data.num_classes = 40: must be below data.dimension / 2 = 32, else no S_small",
        ),
        "balance": ({"data.num_classes": 3}, "data.num_samples = 1000: must be a multiple of 3 classes"),
        "whiten": (
            {"data.num_samples": 40, "opt.batch_size": 40},
            "data.num_samples = 40: must be at least data.dimension = 64 to whiten",
        ),
        "width": ({"net.width": 63}, "net.width = 63: must be at least data.dimension = 64: no layer may narrow"),
        "square": ({"study": "spectra"}, "net.width = 72: must be data.dimension = 64, whose subspaces are compared"),
        "digits": (
            {"data.source": "digits", "data.dimension": 61, "data.num_samples": 1797},
            "data.num_classes = 4: must be 10 for the digits",
        ),
    }.items()
}
