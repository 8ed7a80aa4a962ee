"""Compressed Deep LoRA in its linear setting: no figure of Yaras et al. 2024, arXiv:2406.04112.

    python -m experiments.main --config=configs/deep_lora.py[:smoke|cpu|paper]

Three d x d factors, eps-orthogonal, adapt a frozen d x d matrix, and their compression U W~_3 W~_2 W~_1 V^T runs with
them, by separate code. ``whitened``: least squares towards a change of rank r, k = 2r, the bases from the gradient at
the frozen matrix. ``classes``: cross-entropy of a linear map to r classes on 12 samples, k = r + 12, inputs not
whitened. The control has the bases of another draw of the factors.

Theirs is depth 3 and, on language tasks, Adam from eps = 1e-3 (github.com/cjyaras/deep-lora-transformers). Ours is the
linear setting: gradient descent from eps = 0.1, whose cube is 1e-3, with fixed bases (gamma = 0).

Time on two cores: smoke 20 s, paper 60 minutes.
Expect: with the term of rho the two are one matrix up to floating-point error: 2e-14 relative to Delta (bound 1e-12),
7e-6 in float32 (bound 2e-4). Without it their distance is rho^3 sqrt(d - k).
"""

from ml_collections import ConfigDict, config_dict

SINGLE = {"precision": "float32"}
VARIANTS = (
    {"name": "whitened"},
    {"name": "whitened_f32", **SINGLE},
    {"name": "classes", "net.kind": "classes", "opt.step_size": 0.2},
    {"name": "classes_f32", "net.kind": "classes", "opt.step_size": 0.2, **SINGLE},
    {"name": "control", "net.kind": "control"},
)
PROFILES = {
    "smoke": {"num_seeds": 2, "width": 30, "rank": 3},
    "cpu": {"num_seeds": 10, "width": 100, "rank": 5},
    # the width of the matrices of BERT-base, which the paper adapts
    "paper": {"num_seeds": 10, "width": 768, "rank": 8},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="deep_lora.linear",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"kind": "whitened", "depth": 3, "width": size["width"], "scale": 0.1},
        opt={"step_size": 0.05, "weight_decay": 0.0, "num_steps": 1000},
        data={"rank": size["rank"], "num_samples": 12},
        observe={"num_times": 41, "spacing": "even"},
        sweep={"opt": {"weight_decay": (0.0, 0.01)}},
        variants=VARIANTS,
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 30.0},
    )
