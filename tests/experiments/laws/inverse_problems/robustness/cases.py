"""Made-up results of noise robustness: test errors proportional to the noise, 2.3 sigma with weight decay."""

import numpy as np
from inverse_problems.made_up import after, breaks, linear, members_of, replaced, rules, scaled
from synthetic import Case

SEEDS = ("num_seeds=2",)
CASES = {
    "robustness": Case("inverse_robustness", SEEDS, frozenset({"W1.rounding"})),
    "union": Case("inverse_union", SEEDS),
    "digits": Case("inverse_digits", SEEDS),
}


def lawful(config):
    """Observations of members that obey every law, members first and times second."""
    times, decay = members_of(config)
    data, levels = config.data, np.asarray(config.data.noise)
    outside = np.sqrt(data.dimension * (data.num_measurements - data.subspace_dimension) / data.num_measurements)
    errors = np.where(decay[:, None] == 0, outside, 2.3) * levels
    longest = 4000.0 if config.study == "digits" else 100.0
    x = longest * decay[:, None] * times / times[-1]
    noise = (len(decay), len(times), len(levels))
    seen = linear(x, np.linspace(1, 0.2 if config.study == "digits" else 1.0, data.subspace_dimension)) | {
        "outside_norm": np.full(x.shape, outside),
        "regression_error": np.full(x.shape, 0.01),
        "test_error": np.broadcast_to(errors[:, None], noise),
        "oracle_error": np.broadcast_to(2.25 * levels, noise),
        "operator_error": np.ones(x.shape),
    }
    kept = ("converged_at", "diverged_at", "regression_error", "rescaled_time", "test_error", "oracle_error")
    return {name: seen[name] for name in kept} if config.study == "union" else seen


def worse_with_its_oracle(name, seen):
    """In the last seed, decay gains less against no decay and nothing is lost against the oracle."""
    for field in ("test_error", "oracle_error"):
        scaled("base", field, 1.6, -2)(name, seen)


# Of the last seed, the fourth member from the end has no weight decay; of Figure 1a, the second has lambda = 0.01.
BREAKS = breaks(
    norm=("robustness", scaled("base", "outside_norm", 1.07, -4), "F1a.norm"),
    not_the_norm=("robustness", scaled("base", "test_error", 1.07, -4), "F1a.error"),
    not_the_oracle=("robustness", scaled("base", "test_error", 1.2, -2), "F1a.oracle"),
    little_gain=("robustness", worse_with_its_oracle, "F1a.gain"),
    first_layer=("robustness", scaled("base", "law_deviation", 2e3), "W1.exact"),
    isometric=("robustness", replaced("base", "isometry", 0.09), "A2.rip"),
    no_gain=("union", scaled("base", "test_error", 6.0), "F1b.gain"),
    no_gain_on_digits=("digits", scaled("base", "test_error", 0.2, -4), "digits.gain"),
    rounding=("digits", after("base", 12.0, "law_deviation", 1e-6), "W1.rounding"),
)
ONE = "must be 1 for study = 'robustness': a linear network knows one subspace"
RANK = "spans 100 dimensions, which must be below data.num_measurements and at most data.num_samples"
MOST = "must be at most {}, the digits kept for {}"
RULES = rules(
    ("inverse_robustness", {"data.num_subspaces": 2}, f"data.num_subspaces = 2: {ONE}"),
    ("inverse_robustness", {"data.noise": ()}, "data.noise = (): must be standard deviations of 0 or more"),
    ("inverse_union", {"data.num_subspaces": 20}, f"data.num_subspaces = 20: {RANK}"),
    (
        "inverse_union",
        {"opt.step_unit": "curvature"},
        "opt.step_unit = 'curvature': must be 'one' for a network with a ReLU",
    ),
    ("inverse_digits", {"data.dimension": 65}, "data.dimension = 65: must be 64 for the digits"),
    ("inverse_digits", {"data.num_samples": 1501}, f"data.num_samples = 1501: {MOST.format(1500, 'training')}"),
    ("inverse_digits", {"data.num_tests": 298}, f"data.num_tests = 298: {MOST.format(297, 'tests')}"),
)
