"""Made-up results of weight decay: networks that obey the scalar dynamics, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters

FEW = ("num_seeds=2",)
# What is judged of runs that last.
SETTLED = ("values", "collapse", "jump")
LATE = frozenset(
    f"WD.{law}[{name}]"
    for law in SETTLED
    for name in ("case1_L2", "case1_L3", "case1_L4", "case2_L3", "small_aligned_L3")
) | {"WD.collapse[small_L3]", "WD.independent[small_L3]"}
SHORT = frozenset({f"WD.{law}[{name}]" for law in SETTLED for name in ("case1_L3", "case2_L3")} | {"WD.independent"})
CASES = {
    "decay": Case("dln_decay", FEW),
    "short": Case("dln_decay", (*FEW, "opt.step_size=0.04"), LATE - {"WD.jump[case1_L2]"}),
    # Two steps: less than the idle values fall by is the bound on them.
    "two steps": Case(
        "dln_decay",
        (*FEW, "opt.num_steps=2", "observe.num_times=3"),
        SHORT | {f"WD.{law}[case1_L3]" for law in ("rate", "form", "power")},
        "smoke",
    ),
    "smoke": Case("dln_decay", FEW, SHORT, "smoke"),
}


def held(config, sigma):
    """The largest lambda that an aligned start survives: that of any w up to it which stays in place, on a grid."""
    L = config.net.depth
    w = np.linspace(0, min(config.net.scale, sigma ** (1 / L)), 20_001)
    return float((w ** (L - 2) * (sigma - w**L)).max())


def kept(config, decay):
    """Each singular value's limit, by the polynomial w^{2L-2} - sigma w^{L-2} + lambda = 0."""
    L, found = config.net.depth, []
    for sigma in config.data.spectrum:
        roots = np.roots([1, *[0] * (L - 1), -sigma, *[0] * (L - 2)] + np.eye(1, 2 * L - 1, 2 * L - 2)[0] * decay)
        real = roots[np.abs(roots.imag) < 1e-9].real
        found.append(real.max() if decay < held(config, sigma) else 0.0)
    return np.array(found)


def lawful(config):
    """Observations, members first and times second, of networks that follow both recursions to the last bit."""
    net, times, spectrum = config.net, observation_times(config), config.data.spectrum
    ratios = np.tile(hyperparameters(config)["opt.decay_ratio"], config.num_seeds)
    layers = net.depth - (config.data.case == 2)
    decays = ratios * held(config, spectrum[0])
    rho = np.empty((len(ratios), times[-1] + 1))
    rho[:, 0], eta = net.scale, config.opt.step_size
    for t in range(times[-1]):
        pull = rho[:, t] ** (2 * net.depth - 1) * (config.data.case == 1)
        rho[:, t + 1] = rho[:, t] - eta * (decays * rho[:, t] + pull)
    rho = rho[:, times]
    values = np.stack([kept(config, decay) for decay in decays])
    if (net.start, net.scale) == ("independent", 0.3):
        values[ratios >= 0.9] = 0
    shape = (len(ratios), len(times), layers, len(spectrum))
    seen = {"loss": np.ones(rho.shape), "rho": rho, "idle_value": np.repeat(rho[..., None], layers, -1)}
    seen |= {"idle_deviation": np.zeros(shape[:3])}
    seen |= {"leading_values": np.broadcast_to(values[:, None, None], shape).copy()}
    seen |= {"product_values": np.broadcast_to(values[:, None] ** net.depth, (*shape[:2], shape[3])).copy()}
    never = np.full(len(ratios), -1)
    return seen | {"converged_at": never, "diverged_at": never}


# What breaks the claims. ----------------------------------------------------------------------------------------------

# The members of a sweep, of which a seed has eleven.
RATIOS = (0.0, 0.05, 0.1, 0.2, 0.33, 0.5, 0.65, 0.8, 0.95, 1.05, 1.2)


def broken(variant, field, ratio, place, change, *fails):
    """Apply ``change`` to a variable of the last seed at this decay."""

    def apply(name, seen):
        if name == variant:
            index = (RATIOS.index(ratio) - len(RATIOS), *place)
            seen[field][index] = change(seen[field][index])

    return Break("decay", apply, frozenset(f"WD.{law}[{variant}]" for law in fails))


def tilted(values):
    """A rate that is off by 2e-4: the values at each time, layer by layer."""
    return values ** (1 + 2e-4)


def drifting(values):
    """A tenth too small, in every layer and at every time: no rate changes."""
    return 0.9 * values


ALL = (slice(None),)
BREAKS = {
    "idle value": broken("case1_L3", "idle_deviation", 0.1, (3, 1), lambda _: 1.1e-8, "idle"),
    "not a number": broken("case2_L3", "idle_deviation", 0.0, (3, 1), lambda _: np.nan, "idle"),
    "not seen any more": broken("case1_L3", "idle_deviation", 1.2, (-1, 1), lambda _: 1.0),
    "another rate": broken("case1_L3", "idle_value", 0.1, ALL, tilted, "rate"),
    "another rate in Case 2": broken("case2_L3", "idle_value", 0.1, ALL, tilted, "rate"),
    "another amplitude": broken("case1_L4", "idle_value", 0.1, ALL, drifting, "form"),
    "another power": broken("case1_L2", "idle_value", 0.0, ALL, lambda values: values**1.1, "power"),
    "another root": broken("case1_L4", "leading_values", 0.2, (-1, 2, 2), lambda v: v + 1.1e-6, "values"),
    "lost too soon": broken("case1_L2", "leading_values", 0.65, (-1, 1, 1), lambda _: 0.0, "values"),
    "kept too long": broken("case1_L3", "leading_values", 1.05, (-1, 0, 0), lambda _: 2e-6, "values", "collapse"),
    "not collapsed": broken("case2_L3", "product_values", 1.2, (-1, 0), lambda _: 2e-6, "collapse"),
    "no jump": broken("case1_L3", "leading_values", 0.95, (-1, 0, 0), lambda _: 0.62, "values", "jump"),
    "small and kept": broken("small_L3", "leading_values", 0.95, (-1, 0, 0), lambda _: 2e-6, "independent"),
}


def idle(name, seen):
    """All singular values of a variant follow rho."""
    if name == "case1_L3":
        seen["leading_values"][:] = seen["rho"][..., None, None]


VACUOUS = {"nothing learnt": Break("decay", idle, frozenset({"WD.idle[case1_L3]"}))}

# Fields that a config may not have. -----------------------------------------------------------------------------------

ORDER = "must be one or more positive numbers that do not increase"
RULES = {
    line: Rule("dln_decay", fields, line)
    for fields, line in (
        ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
        ({"net.width": 6}, "net.width = 6: must exceed twice the number of data.spectrum = 6"),
        ({"net.scale": -1.0}, "net.scale = -1.0: must be a finite number > 0.0"),
        ({"net.scale": 1e-76}, "net.scale = 1e-76: eps^(2L-2) must be between 1e-300 and 1e300"),
        ({"opt.step_size": 0.0}, "opt.step_size = 0.0: must be a finite number > 0.0"),
        ({"data.spectrum": (0.4, 0.7)}, f"data.spectrum = (0.4, 0.7): {ORDER}"),
        ({"data.spectrum": (0.4, 0.0)}, f"data.spectrum = (0.4, 0.0): {ORDER}"),
        ({"data.spectrum": ()}, f"data.spectrum = (): {ORDER}"),
        ({"data.case": 3}, "data.case = 3: must be one of 1, 2"),
        ({"data.case": 2, "net.start": "aligned"}, "net.start = 'aligned': must be 'independent' for data.case = 2"),
    )
}
