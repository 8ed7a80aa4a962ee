"""Made-up results of deep matrix completion: what the paper shows of each network, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters

SAME, SAME_FASTER = (("S4.1.samples" + part, f"S4.1.samples{part}_worst") for part in ("", "_faster"))
PATHS, OUTER = ("F6.mirrors", "F6.deviates"), ("S4.1.outer", "S4.1.outer_late")
CASES = {name: Case(f"completion_{name}", ()) for name in ("depth_width", "compressed", "gamma", "sampling")}
CASES |= {
    "other depth_width": Case(
        "completion_depth_width", ("data.observed=0.4",), frozenset({"F4.recovery", "F4.overfitting", "F4.width"})
    ),
    "other compressed": Case("completion_compressed", ("data.size=200",), frozenset({"F5.ratio", "F5.spread"})),
    "other gamma": Case(
        "completion_gamma",
        ("net.scale=0.01",),
        frozenset({"F6.ratio", "F6.recovery", *PATHS, "F6.divergence", *OUTER}),
    ),
    "one gamma": Case(
        "completion_gamma",
        ("sweep.opt.discrepancy=(0.01,)", "variants=({},)"),
        frozenset({"F6.ratio", *PATHS, "F6.divergence"}),
    ),
    "other sampling": Case(
        "completion_sampling",
        ("net.scale=0.01",),
        frozenset({*SAME, *SAME_FASTER, "S4.1.depth", "S4.1.enough", "S4.1.too_few"}),
    ),
    "without shallow": Case(
        "completion_sampling",
        ("variants=({'net.kind': 'compressed'}, {'net.kind': 'full'})",),
        frozenset({*SAME_FASTER, "S4.1.depth"}),
    ),
    "few entries": Case(
        "completion_sampling",
        ("sweep.data.observed=(0.15, 0.25)",),
        frozenset({*SAME, *SAME_FASTER, "S4.1.depth", "S4.1.enough"}),
    ),
    "compressed alone": Case(
        "completion_compressed",
        ("variants=({'net.rank': 5}, {'net.rank': 20})",),
        frozenset({"F5.ratio"}),
    ),
}


def printed(config):
    """(steps to the tolerance, recovery error) of a network of the paper."""
    net = config.net
    if config.study == "depth_width":
        return 30_000 if net.width == 10 else 10_000, 1e-8 if net.depth == 3 or net.width == 10 else 1e-3
    return 17_000 if net.kind != "narrow" else 35_000, 1e-9


def sampled(net, share):
    """Recovery error with this share of the entries: a deep network needs 0.3, a shallow one all that are tried."""
    return 1e-9 if share >= (0.3 if net.depth == 3 else 0.5) else 0.1


def lawful(config):
    """Observations, members first and times second; of three values of gamma 0 stalls and 1 diverges."""
    times, gammas = observation_times(config), hyperparameters(config).get("opt.discrepancy", (0.01,))
    shares = hyperparameters(config).get("data.observed", (config.data.observed,))
    n, rank = config.num_seeds * len(gammas) * len(shares), config.data.rank
    steps, recovery = printed(config)
    path = np.exp(-np.arange(len(times))[::-1, None, None] / 9 * np.arange(1, 1 + rank)[:, None])
    seen = {
        "loss": np.tile(np.geomspace(1e-2, 1e-10, len(times)), (n, 1)),
        "recovery_error": np.full((n, len(times)), recovery),
        "projection": np.tile(path, (n, 1, 1, rank)),
        "converged_at": np.full(n, steps),
        "diverged_at": np.full(n, -1),
    }
    if config.net.kind == "compressed":
        seen["outer_over_core"] = np.full((n, len(times)), 0.01)
    if config.study == "sampling":
        errors = np.repeat([sampled(config.net, share) for share in shares], len(gammas))
        seen["recovery_error"][:] = np.tile(errors, config.num_seeds)[:, None]
    elif len(gammas) > 1:
        still, fast = (np.arange(n) % 3 == place for place in (1, 2))
        seen["recovery_error"][still], seen["recovery_error"][fast] = 1e-3, np.nan
        seen["projection"][still, len(times) // 2 :] *= 0.8
        seen["converged_at"][still | fast], seen["diverged_at"][fast] = -1, 14_000
    return seen


def setting(variant, field, value, member=0):
    """A change of one member's number."""

    def change(name, seen):
        if name == variant:
            seen[field][member] = value

    return change


# Of gamma's nine members the first three are seed 0 at 0.01, 0 and 1; of sampling's the first six, or 12 with two
# values of gamma, are seed 0 at the shares 0.15, 0.25, 0.3, 0.35, 0.4 and 0.5.
# Seed 0 needs a share more, the others a share less.
MIXED = np.array([[2e-6], [1e-9], [1e-9]])
BREAKS = {
    name: Break(case, setting(*change), frozenset(fails))
    for name, case, change, fails in (
        ("unrecovered", "depth_width", ("L3_w40", "recovery_error", 2e-6), ["F4.recovery"]),
        ("no number", "depth_width", ("L3_w20", "recovery_error", np.nan), ["F4.recovery"]),
        ("recovered", "depth_width", ("L2_w20", "recovery_error", 9e-5), ["F4.overfitting"]),
        ("slow", "depth_width", ("L3_w100", "converged_at", 18_100), ["F4.width"]),
        ("wide stalls", "depth_width", ("L3_w100", "converged_at", -1), ["F4.width"]),
        ("diverged", "depth_width", ("L2_w40", "diverged_at", 9), ["F4.overfitting"]),
        ("narrow is fast", "compressed", ("narrow_20", "converged_at", 25_000), ["F5.ratio"]),
        ("a slow rank", "compressed", ("compressed_20", "converged_at", 17_870), ["F5.spread"]),
        ("stopped", "compressed", ("compressed_5", "converged_at", -1), ["F5.ratio", "F5.spread"]),
        ("recovers at rest", "gamma", ("compressed", "recovery_error", 9e-6, 1), ["F6.ratio"]),
        ("unrecovered gamma", "gamma", ("compressed", "recovery_error", 2e-6, 3), ["F6.ratio", "F6.recovery"]),
        ("another path", "gamma", ("compressed", "projection", 0.5), ["F6.mirrors"]),
        ("one end", "gamma", ("compressed", "projection", 1.0, (1, -1)), ["F6.deviates"]),
        ("no divergence", "gamma", ("compressed", "diverged_at", -1, 8), ["F6.divergence"]),
        (
            "divergence",
            "gamma",
            ("compressed", "diverged_at", 9, 6),
            ["F6.ratio", "F6.recovery", "F6.mirrors", *OUTER],
        ),
        ("outer factors as fast", "gamma", ("compressed", "outer_over_core", 0.2, (0, 0)), [OUTER[0]]),
        ("outer factors are faster in the end", "gamma", ("compressed", "outer_over_core", 1.1, (3, -1)), [OUTER[1]]),
        ("a share more", "sampling", ("compressed", "recovery_error", 2e-6, 4), [*SAME]),
        ("a share more, faster", "sampling", ("compressed", "recovery_error", 2e-6, 5), [*SAME_FASTER]),
        ("a share more and two less", "sampling", ("compressed", "recovery_error", MIXED, [4, 14, 26]), [SAME[1]]),
        (
            "a share more and two less, faster",
            "sampling",
            ("compressed", "recovery_error", MIXED, [5, 15, 27]),
            [SAME_FASTER[1]],
        ),
        ("never", "sampling", ("compressed", "recovery_error", 2e-6, 22), [*SAME, "S4.1.enough"]),
        ("no longer", "sampling", ("compressed", "recovery_error", np.nan, 8), [*SAME, "S4.1.enough"]),
        ("shallow is as good", "sampling", ("shallow", "recovery_error", 1e-9, slice(2, 6)), ["S4.1.depth"]),
        ("from nothing", "sampling", ("narrow", "recovery_error", 9e-4, 6), ["S4.1.too_few"]),
        ("sampling diverged", "sampling", ("compressed", "diverged_at", 9, 0), [*SAME, "S4.1.too_few"]),
        # What the claims allow.
        ("a share less", "sampling", ("compressed", "recovery_error", 9e-7, 2), []),
        ("narrow needs all", "sampling", ("narrow", "recovery_error", 0.1, slice(0, 17)), []),
        ("narrowest stalls", "depth_width", ("L3_w10", "converged_at", -1), []),
        ("shallow and narrow recovers", "depth_width", ("L2_w10", "recovery_error", 1e-9), []),
        ("narrow is capped", "compressed", ("narrow_5", "converged_at", -1), []),
        ("within 5%", "compressed", ("compressed_20", "converged_at", 17_800), []),
    )
}


def unfitted(name, seen):
    """Networks that have not even fitted what is observed."""
    seen["loss"].fill(1e-2)


VACUOUS = {
    "unfitted": Break("depth_width", unfitted, frozenset({"F4.overfitting"})),
    "unfitted samples": Break("sampling", unfitted, frozenset({"S4.1.too_few"})),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

ONE_STEP = "cannot be swept for net.kind = 'narrow', which has one step size"
RULES = {
    line: Rule("completion_compressed", fields, line)
    for fields, line in (
        ({"study": "x"}, "study = 'x': must be one of 'depth_width', 'compressed', 'gamma', 'sampling'"),
        ({"net.kind": "x"}, "net.kind = 'x': must be one of 'full', 'narrow', 'compressed'"),
        ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
        ({"net.rank": 150}, "net.rank = 150: must be below data.size / 2 = 150"),
        ({"net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
        ({"opt.step_size": -1.0}, "opt.step_size = -1.0: must be a finite number > 0.0"),
        ({"opt.discrepancy": -1.0}, "opt.discrepancy = -1.0: must be a finite number >= 0.0"),
        ({"data.observed": 1.5}, "data.observed = 1.5: must be a finite number > 0.0 and <= 1.0"),
        ({"data.rank": 300}, "data.rank = 300: must be below data.size = 300"),
        (
            {"net.kind": "narrow", "sweep.opt.discrepancy": (0.0, 1.0)},
            f"sweep.opt.discrepancy = (0.0, 1.0): {ONE_STEP}",
        ),
    )
}
