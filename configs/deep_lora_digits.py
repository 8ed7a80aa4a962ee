"""LoRA and Deep LoRA on a frozen network of digits: no figure of Yaras et al. 2024, arXiv:2406.04112.

    python -m experiments.main --config=configs/deep_lora_digits.py[:smoke|cpu|paper]

An MLP of widths 64, 128, 128, 10 is trained on 1000 mirrored digits and frozen. Ten members each draw 64 digits as they
are and train an adapter of the middle matrix by Adam: LoRA and compressed Deep LoRA of rank 4 to 64, the latter with
its bases learning at gamma = 0.01 and at 1, and Deep LoRA with d x d factors. Each has three step sizes; forms are
compared at the best one by mean test accuracy. An activation follows the matrix, so the compression is approximate.

Theirs (github.com/cjyaras/deep-lora-transformers, on language tasks): depth 3, eps = 1e-3, Adam, LoRA's first factor
N(0, 1), ranks 8 to 64 on 16 samples, 16 to 1024 samples at rank 8, a step size of 1e-4 for LoRA and Deep LoRA. Their
comparisons do not compress: all three factors have the inner width r. The one script that does has rank 8, a step size
of 0.01 and gamma = 0.01, and takes the gradient with the adapter in place. Ours: eps = 0.1, LoRA's first factor
N(0, 1/d), rank 4 besides, 64 digits, three step sizes, gamma = 1 besides, the gradient at the frozen matrix.

Time on two cores: smoke 60 s, paper 40 minutes.
Expect: numbers, and no sentence of the paper is disputed, since it speaks of language models. Here LoRA ends at test
accuracies of 76% (rank 4) to 81%, compressed Deep LoRA at 65% to 76%, and the d x d factors at 76%. Over the ranks the
accuracy of LoRA differs by 5 points and that of Deep LoRA by 12 to 15. Deep LoRA's change has 2 to 6 singular values
above 1% of the largest at every rank; LoRA's has 4 to 28.
"""

from ml_collections import ConfigDict, config_dict

RANKS = (4, 8, 16, 32, 64)
FULL = {"name": "full", "net.form": "full"}


def forms(ranks: tuple[int, ...]) -> tuple[dict, ...]:
    """LoRA, Deep LoRA with slow bases and with free ones at every rank, and the d x d factors."""
    lora = [{"name": f"lora_r{rank}", "net.form": "lora", "net.rank": rank} for rank in ranks]
    deep = [{"name": f"deep_r{rank}", "net.rank": rank} for rank in ranks]
    free = [{"name": f"deep_free_r{rank}", "net.rank": rank, "net.outer": 1.0} for rank in ranks]
    return (*lora, *deep, *free, FULL)


PROFILES = {
    "smoke": {"num_seeds": 2, "ranks": (4, 64), "step_sizes": (0.01,), "num_steps": 40},
    "cpu": {"num_seeds": 10, "ranks": RANKS, "step_sizes": (0.003, 0.01, 0.03), "num_steps": 300},
    # a hundred seeds; the paper has ten or twenty, and five for its ranks
    "paper": {"num_seeds": 100, "ranks": RANKS, "step_sizes": (0.003, 0.01, 0.03), "num_steps": 300},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="deep_lora.digits",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float32",
        net={
            "form": "deep",
            "rank": 16,
            "depth": 3,
            "scale": 0.1,
            "outer": 0.01,
            "width": 128,
            "activation": "silu",
        },
        opt={"step_size": 0.01, "num_steps": size["num_steps"]},
        data={"num_train": 64, "num_source": 1000, "num_test": 797},
        source={"num_steps": 300, "step_size": 0.003},
        observe={"num_times": 11, "spacing": "even"},
        sweep={"opt": {"step_size": size["step_sizes"]}},
        variants=forms(size["ranks"]),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 30.0},
    )
