"""Progressive collapse at several depths: Figures 2 and 7 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/collapse_depth.py[:smoke|cpu|paper]

Linear and ReLU networks of 6, 8 and 10 layers on 5 classes of 10 orthogonal samples, d = 50, from eps-orthogonal
weights, eps = 0.5. The step size 0.004 on the sum loss is a step size of 1 on the mean over all K N entries. All are
observed at mean loss 1e-6, as the paper draws them, and once more where the residual no longer hides the last layers:
linear networks at 1e-12, ReLU networks, whose loss then falls like a power of t, at 1e-8.

Time on two cores: smoke 30 s, paper 2 hours.
Expect: linear rates are 1% to 2% below eps^2 / n^{1/L} (bound 5%), R^2 > 0.999. ReLU networks are judged at both
losses. At 1e-6 the line fails for 10 layers (R^2 0.944, bound 0.95), at 1e-8, which 5 of 9 members reach, R^2 exceeds
0.97. Its rate is below 0.2 at both. The largest ratio of a single layer is not, in the worst member of any depth: it is
0.22 to 1.01 at 1e-6, and 0.22 to 0.74 at 1e-8.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "cap": 1000, "depths": (("linear", 4), ("relu", 4))},
    "cpu": {"num_seeds": 3, "cap": 200_000},
    "paper": {"num_seeds": 10, "cap": 500_000},
}
EVERY_CASE = tuple((activation, depth) for activation in ("linear", "relu") for depth in (6, 8, 10))


def get_config(profile: str = "cpu") -> ConfigDict:
    size = {"depths": EVERY_CASE} | PROFILES[profile]
    tolerances = {"linear": (1e-6, 1e-12), "relu": (1e-6, 1e-8)}
    return config_dict.create(
        experiment="collapse",
        name="",
        study="depth",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 8, "width": 50, "scale": 0.5, "activation": "linear", "init": "orthogonal"},
        opt={"step_size": 0.004, "tolerance": 1e-12, "num_steps": size["cap"]},
        data={"source": "orthogonal", "num_classes": 5, "samples_per_class": 10},
        observe={"num_times": 21, "spacing": "log"},
        sweep={},
        variants=tuple(
            {
                "name": f"{activation}_L{depth}",
                "net.activation": activation,
                "net.depth": depth,
                "sweep.opt.tolerance": tolerances[activation],
            }
            for activation, depth in size["depths"]
        ),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
