"""On Fashion-MNIST a low-rank MLP in S_big trains like the full one, a random one does not: Figure 6 of Xu et al. 2026.

    python -m experiments.main --config=configs/fashion_mnist_low_rank.py[:smoke|cpu|once|pooled|uniform|paper]

Four layers of width 784, r = 2K = 20, eps = 0.1. Full-batch gradient descent on the squared error summed over the
images makes 1500 steps with eta N = 0.5; the step size falls to 0 along a cosine. Two curves are not in the paper:
S_big from the gradient of one batch of 128 images, and transported small layers, made of the bases of the full
network's small subspaces as in eq. 8, where the text draws them at random. The cpu profile has 10,000 of the 60,000
images; it runs the full network in three seeds and all others in five.

`once` is the paper's size for one activation and one seed. A step of the full network takes 590 GFLOP, 3.2 s on two
cores that multiply 190 GFLOP a second. Expect final test accuracies of 0.777
(S_big), 0.766 (of the first 128 images, as one batch was in that run), 0.728 (full, which is slower) and 0.366
(random, whose loss stays at its initial value).

`pooled` has all 60,000 images with squares of 2 x 2 pixels averaged: 14 x 14 pixels and layers of width 196, which
take a sixteenth of the products. Both activations run, S_big and random in five seeds, the full network in three.
Plateaus are longer there: with SiLU expect median test accuracies of 0.655 (S_big) and 0.362 (full), with GELU of 0.755
and 0.690.
`uniform` is the same with a last layer as in PyTorch's Linear, U(-a, a), a = 1/sqrt(fan-in), its norm 5.8 times
that of eps-orthogonal weights; the full network has one seed. A random subspace then leaves its initial loss in some
seeds, down to 0.83 (GELU) and 0.90 (SiLU) of it; with an eps-orthogonal last layer it stays there.

Time on two cores: smoke 1 minute, once 100 minutes, paper 17 hours.
Expect of `cpu` median test accuracies of 0.765 (S_big), 0.781 (with transported layers), 0.768 (of one batch), 0.730
(full) and 0.348 (random). All seeds of S_big end above the full network. Networks leave plateaus at times that rounding
decides: in another run with the same seeds one ended further below it than the claim allows.
"""

from ml_collections import ConfigDict, config_dict

FULL = {"net.form": "full"}
FORMS = {
    "s_big": {"net.form": "s_big"},
    "s_big_transported": {"net.form": "s_big", "net.inner": "transported"},
    "s_big_batch": {"net.form": "s_big", "net.gradient": "batch"},
    "random": {"net.form": "random"},
    "full": FULL,
}
PAPER = {"num_seeds": 5, "num_steps": 1500, "num_times": 61, "activations": ("silu", "gelu"), "num_train": 60_000}
# "heat" is eta N, the step size times the images. Of batches of 1000, 2000 and 5000 images, 2000 is a tenth faster.
PAPER |= {"heat": 0.5, "batch": 2000, "forms": FORMS, "average": 1, "last": "orthogonal"}
ONCE = {form: FORMS[form] for form in ("s_big", "s_big_batch", "random", "full")}
# Images of 14 x 14 pixels: a step of the full network takes a sixteenth of the products. It has fewer seeds.
FEW = {form: FORMS[form] for form in ("s_big", "random")}
POOLED = PAPER | {"average": 2, "forms": FEW | {"full": FULL | {"num_seeds": 3}}}
UNIFORM = POOLED | {"last": "uniform", "forms": FEW | {"full": FULL | {"num_seeds": 1}}}
SMOKE = {"num_steps": 3, "num_times": 3, "num_train": 2000, "batch": 1000}
PROFILES = {
    "smoke": PAPER | SMOKE | {"num_seeds": 1, "activations": ("silu",)},
    "cpu": PAPER | {"activations": ("silu",), "num_train": 10_000, "forms": FORMS | {"full": FULL | {"num_seeds": 3}}},
    "once": PAPER | {"num_seeds": 1, "activations": ("silu",), "forms": ONCE},
    "pooled": POOLED,
    "uniform": UNIFORM,
    "paper": PAPER,
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="smooth_mlp.low_rank",
        name="",
        study="low_rank",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float32",
        net={
            "form": "full",
            "inner": "drawn",
            "gradient": "all",
            "last": size["last"],
            "activation": "silu",
            "depth": 4,
            "rank": 20,
            "scale": 0.1,
            "angle": 0.0,
        },
        opt={"step_size": size["heat"] / size["num_train"], "num_steps": size["num_steps"]},
        data={
            "name": "fashion_mnist",
            "folder": "",
            "average": size["average"],
            "num_train": size["num_train"],
            "num_test": 10_000 if profile != "smoke" else 1000,
            "batch_size": size["batch"],
            "gradient_batch": 128,
        },
        observe={"num_times": size["num_times"], "spacing": "even"},
        sweep={},
        variants=tuple(
            {"name": f"{name}_{form}", "net.activation": name, **fields}
            for name in size["activations"]
            for form, fields in size["forms"].items()
        ),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 60.0},
    )
