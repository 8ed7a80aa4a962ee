"""The theory of rank jumps: Theorems 3.1, B.1, B.2 and Propositions 3.1, 3.2, A.1 of Wang and Jacot 2024.

    python -m experiments.main --config=configs/jumps_theory.py[:smoke|cpu|paper]

A* = [[1, *], [eps, 1]]. Each study is a variant or one per depth: gradient descent from PyTorch's start around the eps
at which the rank-2 minimum ends (fold); descents on L_lambda (factors) and proximal descents on C_lambda (matrix,
origin) from many starts; the rank-1 minimum followed beyond the ridge at which it ends (end); small ridges (avoid);
Figure 3's eps = 1 run to its end (budget); points of B_1 at which its bounds are attained (region); SGD of Figure 1,
whose frequency of jumps is compared with Theorem B.2's bound (jumps). Steps and decays are those of the
figures' update.

Time on two cores: smoke 30 s, paper 30 minutes.
"""

from ml_collections import ConfigDict, config_dict

# The rank-2 minimum ends at these eps (lambda = 0.1), to 7 digits.
LAST = {3: 0.2574727, 4: 0.1053565}
CPU = {
    "num_seeds": 3,
    "depths": (3, 4),
    "width": 16,
    "around": (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.01, 1.02, 1.05, 1.1, 1.2, 1.5),
    "fold_steps": 60_000,
    "search_seeds": 24,
    "points": 500,
    "jump_seeds": 64,
    "jump_steps": 6000,
    "budget_steps": 100_000,
    "end_steps": 20_000,
    "parts": ("fold", "factors", "matrix", "origin", "end", "region", "avoid", "budget", "jumps"),
}
PROFILES = {
    "smoke": {
        "num_seeds": 2,
        "depths": (3,),
        "width": 16,
        "around": (0.8, 1.2),
        "fold_steps": 4000,
        "search_seeds": 2,
        "points": 40,
        "jump_seeds": 2,
        "jump_steps": 60,
        "budget_steps": 5000,
        "end_steps": 4000,
        "parts": ("fold", "factors", "matrix", "region"),
    },
    "cpu": CPU,
    "paper": CPU
    | {
        "num_seeds": 10,
        "around": tuple(round(0.9 + 0.005 * i, 3) for i in range(41) if i != 20),
        "search_seeds": 400,
        "points": 20_000,
        "jump_seeds": 256,
    },
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="rank_jumps.landscape",
        name="",
        study="fold",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": size["width"], "init": "uniform", "scale": 1.0},
        opt={
            "step_size": 0.1,
            "weight_decay": 0.1,
            "tolerance": 1e-10,
            "num_steps": size["fold_steps"],
            "warmup_steps": 500,
            "warmup_step_size": 0.03,
        },
        data={"offdiagonal": 0.25},
        region={"rank": 1, "slack": 0.25, "norm_times": 1.0},
        observe={"num_times": 60, "spacing": "log"},
        sweep={},
        variants=tuple(variant for variant in variants(size) if variant["name"].split("_")[0] in size["parts"]),
        run={"chunk": 0, "batch": 1, "segment": 0, "checkpoint_seconds": 5.0},
    )


def variants(size: dict) -> tuple:
    """Every variant of these sizes."""
    return tuple(variant for depth in size["depths"] for variant in at_depth(depth, size)) + alone(size)


def at_depth(depth: int, size: dict) -> tuple:
    """The studies at every depth. eps = 0.2 (L = 3) and 0.08 (L = 4) have all four minima at lambda = 0.1."""
    search = {"net.depth": depth, "data.offdiagonal": {3: 0.2, 4: 0.08}[depth], "num_seeds": size["search_seeds"]}
    search |= {"observe.num_times": 2, "net.init": "normal"}
    # The weight decay at which the rank-1 minimum of eps = 0.25 ends; balanced starts are at multiples of it.
    last = {3: 0.4043675, 4: 0.3537116}[depth]
    return (
        {
            "name": f"fold_L{depth}",
            "study": "fold",
            "net.depth": depth,
            "sweep.data.offdiagonal": tuple(round(times * LAST[depth], 7) for times in size["around"]),
        },
        {
            "name": f"factors_L{depth}",
            "study": "factors",
            "net.width": 4,
            "opt.step_size": 0.05,
            "opt.num_steps": 40_000,
            "sweep.net.scale": {3: (0.1, 0.3, 1.0), 4: (0.3, 0.6, 1.0)}[depth],
            **search,
        },
        {
            "name": f"matrix_L{depth}",
            "study": "matrix",
            "opt.step_size": 0.2,
            "opt.tolerance": 1e-13,
            "opt.num_steps": 40_000,
            "sweep.net.scale": (1.0, 5.0),
            **search,
        },
        {
            # Long proximal steps from near 0 would leave its basin.
            "name": f"origin_L{depth}",
            "study": "matrix",
            "opt.step_size": 0.005,
            "opt.tolerance": 1e-13,
            "net.scale": 1e-5,
            **search,
        },
        {
            "name": f"end_L{depth}",
            "study": "end",
            "net.depth": depth,
            "net.width": 4,
            "net.init": "minimum",
            "num_seeds": 1,
            "opt.num_steps": size["end_steps"],
            "sweep.opt.weight_decay": tuple(round(times * last, 7) for times in (0.5, 0.9, 0.99, 1.01, 1.1)),
        },
        region(depth, size["points"]),
    )


def region(depth: int, points: int) -> dict:
    """Points of the closed set B_r, one at each observation."""
    return {
        "name": f"region_L{depth}",
        "study": "region",
        "net.depth": depth,
        "net.width": 4,
        "num_seeds": 1,
        "opt.num_steps": points,
        "observe.num_times": points + 1,
        "observe.spacing": "even",
        "sweep.region.norm_times": (0.4, 1.0),
    }


def alone(size: dict) -> tuple:
    """The studies at one depth."""
    return (
        {
            "name": "avoid",
            "study": "avoid",
            "opt.num_steps": size["end_steps"],
            "opt.tolerance": 0.0,
            "sweep.opt.weight_decay": (0.001, 0.003, 0.01, 0.03, 0.1, 0.5),
        },
        {
            "name": "budget",
            "study": "budget",
            "net.depth": 4,
            "net.width": 100,
            "sweep.data.offdiagonal": (1.0,),
            "opt.step_size": 0.02,
            "opt.weight_decay": 0.001,
            "opt.tolerance": 1e-7,
            "opt.num_steps": size["budget_steps"],
            "observe.num_times": 200,
        },
        {
            "name": "jumps",
            "study": "jumps",
            "net.width": 100,
            "num_seeds": size["jump_seeds"],
            "opt.step_size": 0.2,
            "opt.num_steps": size["jump_steps"],
            "observe.num_times": 201,
            "observe.spacing": "even",
        },
    )
