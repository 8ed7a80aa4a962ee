"""Made-up results of Theorem A.2 and Corollary 2.6: an off-subspace error of d_w^-2 at T, errors within both bounds."""

import numpy as np
from inverse_problems.made_up import after, breaks, linear, members_of, replaced, rules, scaled
from synthetic import Case

CASES = {"theorem": Case("inverse_theorem", ("num_seeds=2",))}


def lawful(config):
    """Observations of members that obey every law, members first and times second."""
    (times, all_decays), width, levels = members_of(config), config.net.width, np.asarray(config.data.noise)
    decay = config.opt.weight_decay
    x = np.tile(2 * np.log(width) * times / times[-1] * (decay > 0), (len(all_decays), 1))
    noise = np.broadcast_to(levels, (*x.shape, len(levels)))
    constant = {"regression_error": 0.01 if decay else 1e-14, "accuracy": decay * 2**0.5, "stopping_time": 1e4}
    constant |= {"first_phase_end": 7.0 if decay else -1.0, "first_phase_rate": 0.95, "second_phase_error": 0.3}
    constant |= {"off_subspace_error": width**-2.0}
    return linear(x, np.ones(config.data.subspace_dimension)) | {
        **{name: np.full(x.shape, value) for name, value in constant.items()},
        "test_error": 2.1 * noise + 0.01 if decay else 8.0 * noise,
        "oracle_error": 2.05 * noise,
        "test_norm": np.sqrt(1 + 32 * noise**2),
    }


OFF, LAYER = "off_subspace_error", "law_deviation"
BREAKS = breaks(
    slow_first_phase=("theorem", replaced("w256", "first_phase_rate", 1.01), "A2.rate"),
    off_at_the_end=("theorem", replaced("w512", OFF, 1.1 * 512**-1.5), "A2.off", "A2.slope"),
    slope=("theorem", replaced("w512", OFF, 512**-1.55, slice(None)), "A2.slope"),
    diverged=(
        "theorem",
        replaced("w64", "diverged_at", 17),
        "A2.rate",
        "A2.off",
        "A2.slope",
        "W1.exact",
        "W1.rounding",
    ),
    first_layer=("theorem", replaced("w64", LAYER, 2e-10), "W1.exact", "W1.rounding"),
    rounding=("theorem", after("w512", 11.0, LAYER, 1e-6), "W1.rounding"),
    below_the_bound=("theorem", scaled("no_decay", "test_error", 0.6), "C2.6.lower"),
)
T, LAYERS = "opt.rescaling_decay", "net.parametrization"
RULES = rules(
    ("inverse_theorem", {T: 0.0}, f"{T} = 0.0: must be a finite number > 0.0"),
    ("inverse_theorem", {LAYERS: "fan_in"}, f"{LAYERS} = 'fan_in': must be one of 'ntk'"),
    ("inverse_theorem", {"data.noise": (-1.0,)}, "data.noise = (-1.0,): must be standard deviations of 0 or more"),
)
