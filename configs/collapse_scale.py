"""Progressive collapse at several scales of the initial weights: Figure 11 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/collapse_scale.py[:smoke|cpu|paper]

Linear and ReLU networks of 4 layers with eps = 0.5, 0.25 and 0.125 and step size 0.04 on the sum loss; otherwise as
Figure 7 (configs/collapse_depth.py).

Time on two cores: smoke 30 s.
Expect: at mean loss 1e-12 the linear rates are 2% to 4% below eps^2 / n^{1/L} (bound 5%). At 1e-6, where the paper
draws them, the residual in the last layer raises the rate at eps = 0.125 by more than a fifth.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 2000, "scales": (0.5, 0.125)},
    "cpu": {"num_seeds": 10, "num_steps": 20_000, "scales": (0.5, 0.25, 0.125)},
    "paper": {"num_seeds": 100, "num_steps": 500_000, "scales": (0.5, 0.25, 0.125)},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="collapse",
        name="",
        study="scale",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 4, "width": 50, "scale": 0.5, "activation": "linear", "init": "orthogonal"},
        opt={"step_size": 0.04, "tolerance": 1e-12, "num_steps": size["num_steps"]},
        data={"source": "orthogonal", "num_classes": 5, "samples_per_class": 10},
        observe={"num_times": 21, "spacing": "log"},
        sweep={"net": {"scale": size["scales"]}},
        variants=(
            {"name": "linear", "net.activation": "linear", "sweep.opt.tolerance": (1e-6, 1e-12)},
            {"name": "relu", "net.activation": "relu", "sweep.opt.tolerance": (1e-6,)},
        ),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
