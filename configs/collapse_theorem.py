"""The bound on the decay of the separation: Theorem 2 and Corollary 1 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/collapse_theorem.py[:smoke|cpu|paper]

Linear networks of 3 and 4 layers from W_l(0) eps-orthogonal and W_L(0) = eps [U_L 0]. Within the hypotheses, at
eps = 0.99 eps_max, they are observed at mean losses 1e-6, 1e-10 and 1e-16; beyond them, at the eps of Figure 11, at
1e-16. The step size is 0.04 on the sum loss. The theorem is about gradient flow: it is followed from the same start,
and the theorem's hypotheses (i) to (iii) are measured at its end.

Time on two cores: smoke 30 s.
Expect: the flow meets all hypotheses: the hidden layers stay balanced to 2e-11 eps^2, and d - 2K singular values stay
at eps to 1e-13. Descent meets all but half of (ii): it leaves the hidden layers unbalanced by 0.13 to 0.30 eps^2.
D_{l+1}/D_l is 0.07 and 0.09 of its bound in both, whatever eps. The bound presupposes a global optimum: the networks of
4 layers exceed it by a factor of over 200 at mean loss 1e-6, and satisfy it at 1e-10.
"""

from ml_collections import ConfigDict, config_dict

CLASSES, PER_CLASS = 5, 10
WIDTH = CLASSES * PER_CLASS
PROFILES = {
    "smoke": {"num_seeds": 2, "depths": (3,), "scales": (0.25,)},
    "cpu": {"num_seeds": 5, "depths": (3, 4), "scales": (0.5, 0.25, 0.125)},
    "paper": {"num_seeds": 50, "depths": (3, 4), "scales": (0.5, 0.25, 0.125)},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    within = tuple(
        {
            "name": f"L{depth}_within",
            "net.depth": depth,
            "net.scale": 0.99 * largest_scale(depth),
            "sweep.opt.tolerance": (1e-6, 1e-10, 1e-16),
        }
        for depth in size["depths"]
    )
    beyond = tuple(
        {
            "name": f"L{depth}_beyond",
            "net.depth": depth,
            "sweep.net.scale": size["scales"],
            "sweep.opt.tolerance": (1e-16,),
        }
        for depth in size["depths"]
    )
    # The flow is followed to the global optimum, in steps of ten times the time of one of descent, so a tenth of them
    # suffices. All members of a chunk wait for one that does not get there.
    flow = tuple(
        {
            "name": f"L{depth}_flow",
            "net.depth": depth,
            "net.scale": 0.99 * largest_scale(depth),
            "opt.method": "flow",
            "opt.step_size": 0.4,
            "opt.num_steps": 4000,
        }
        for depth in size["depths"]
    )
    return config_dict.create(
        experiment="collapse",
        name="",
        study="theorem",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": WIDTH, "scale": 0.5, "activation": "linear", "init": "corollary"},
        opt={"method": "descent", "step_size": 0.04, "tolerance": 1e-16, "num_steps": 40_000},
        data={"source": "orthogonal", "num_classes": CLASSES, "samples_per_class": PER_CLASS},
        observe={"num_times": 21, "spacing": "log"},
        sweep={},
        variants=within + beyond + flow,
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )


def largest_scale(depth: int) -> float:
    """Theorem 2's largest eps, with sqrt(30) L for the printed sqrt(30 L)."""
    n, root = PER_CLASS, (WIDTH - CLASSES) ** 0.25
    first = n ** (1 / (2 * depth)) / (30**0.5 * depth * root)
    return min(first, (n / 2) ** (1 / (4 * depth)) / root, (2 * (CLASSES**0.5 + 1)) ** -0.5)
