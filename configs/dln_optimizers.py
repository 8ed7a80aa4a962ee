"""The law of parsimony under other optimizers: Section 3 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_optimizers.py[:smoke|cpu|paper]

Deep linear networks as in dln_parsimony (Case 1 and 2, depths 2 to 4, whitened digits, float32), trained from one start
by thirteen optimizers. Nine commute with rotations: gradient descent, with momentum and coupled or decoupled decay,
heavy ball, Nesterov, clipping by the global norm, Muon, Shampoo and GaLore (of rank r, without memory). Four act on
single entries: Adam, RMSprop, AdaGrad and sign descent. Three variants ask how fast Adam's idle directions leave, by
beta_2, epsilon and the size of batches.

Time on two cores: smoke 30 s, paper 15 minutes.
Expect: the law holds up to rounding for the nine, with the idle value that the 2r x 2r network predicts, and exactly 2r
singular values move. "We believe our result can be generalized to" the other three is refuted: all directions move,
and whatever the multiple of W(0) sigma_{2r+1} is 4.7% or more of sigma_1.
"""

from ml_collections import ConfigDict, config_dict

# Each optimizer and its step size, with which it moves the weights by about their own size in 50 steps.
RATES = {
    "gd": 1 / 900,
    "coupled": 1 / 900,
    "decoupled": 1 / 900,
    "heavy_ball": 1 / 900,
    "nesterov": 1 / 900,
    "clipped": 1 / 30,
    "muon": 0.01,
    "shampoo": 1 / 30,
    "galore": 1 / 900,
    "adam": 1 / 90,
    "rmsprop": 1 / 90,
    "adagrad": 1 / 30,
    "sign": 1 / 90,
}
EVERY_CASE = tuple((case, depth) for case in (1, 2) for depth in (2, 3, 4))
PROFILES = {
    # nearly all of its time is compilation; the tests run it
    "smoke": {
        "num_seeds": 2,
        "num_steps": 10,
        "num_times": 3,
        "cases": ((2, 2),),
        "methods": ("nesterov", "muon", "galore", "adam"),
        "more": False,
    },
    "cpu": {"num_seeds": 10, "num_steps": 50, "num_times": 26, "cases": EVERY_CASE},
    # the paper's own size is the cpu profile's; this has a hundred seeds
    "paper": {"num_seeds": 100, "num_steps": 50, "num_times": 26, "cases": EVERY_CASE},
}


def rates(*methods: str) -> dict[str, tuple]:
    """The fields of these optimizers."""
    return {"opt.methods": methods, "opt.step_sizes": tuple(RATES[name] for name in methods)}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = {"methods": tuple(RATES), "more": True} | PROFILES[profile]
    sources = {1: "low_rank", 2: "gaussian"}
    cases = tuple(
        {"name": f"case{case}_L{depth}", "net.depth": depth, "data.source": sources[case]}
        for case, depth in size["cases"]
    )
    single = {"name": "case1_L3_float32", "precision": "float32"}
    digits = {"name": "digits_L3", "data.source": "digits", "data.rank": 10, "net.width": 61}
    batches = tuple(
        {"name": f"sweep_batch_{batch}", "data.source": "gaussian", "opt.batch_size": batch, **rates("gd", "adam")}
        for batch in (150, 30, 3)
    )
    sweeps = (
        {"name": "sweep_beta_2", "sweep.opt.beta_2": (0.0, 0.9, 0.99, 0.999, 0.9999), **rates("adam")},
        {"name": "sweep_epsilon", "sweep.opt.epsilon": (1e-8, 1e-2, 0.1, 1.0, 10.0, 100.0), **rates("adam")},
    )
    opt = {name.split(".")[1]: value for name, value in rates(*size["methods"]).items()}
    return config_dict.create(
        experiment="parsimony.optimizers",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": 30, "scale": 1.0},
        opt={
            **opt,
            "momentum": 0.9,
            "weight_decay": 0.1,
            "clip": 1.0,
            "start": 0.1,
            "beta_2": 0.999,
            "epsilon": 1e-8,
            "batch_size": 0,
            "num_steps": size["num_steps"],
        },
        data={"source": "low_rank", "rank": 3, "num_samples": 300},
        observe={"num_times": size["num_times"], "spacing": "even"},
        sweep={},
        variants=(*cases, *((single, digits, *sweeps, *batches) if size["more"] else ())),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
