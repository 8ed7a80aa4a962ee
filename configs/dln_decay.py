"""Weight decay in the law of parsimony: Section 3 and eqs. 6, 7 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/dln_decay.py[:smoke|cpu|paper]

Deep linear networks of depths 2 to 4 on a target with the singular values 1, 0.7 and 0.4, with weight decay from 0 to
1.2 of lambda*, the largest decay that keeps the first of them: Case 1 and 2 from eps = 1, and from eps = 0.3 with
layers that are independent of the target, as in the paper, or aligned to it.

Time on two cores: smoke 20 s, paper 30 minutes.
Expect: idle singular values fall by the factor 1 - eta lambda per step (rates within 6e-6, bound 1e-4), and in Case 1
without decay like a power of time. Each singular value of the target is kept up to its own lambda* and lost beyond it,
at once for L >= 3; beyond lambda* of the first, everything vanishes. From eps = 0.3 an independent start loses all
sooner.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    # the tests run it; too short for what is kept to be judged
    "smoke": {"num_seeds": 2, "num_steps": 100, "num_times": 6, "width": 8, "names": ("case1_L3", "case2_L3")},
    "cpu": {"num_seeds": 5, "num_steps": 8000, "num_times": 81, "width": 16, "names": ()},
    # the width of the paper's Figure 3, which has no weight decay, with twenty seeds
    "paper": {"num_seeds": 20, "num_steps": 8000, "num_times": 81, "width": 30, "names": ()},
}
# In units of lambda* of the first singular value; those of the others are 0.25 to 0.70 here.
RATIOS = (0.0, 0.05, 0.1, 0.2, 0.33, 0.5, 0.65, 0.8, 0.95, 1.05, 1.2)


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    variants = (
        *({"name": f"case1_L{depth}", "net.depth": depth} for depth in (2, 3, 4)),
        {"name": "case2_L3", "data.case": 2},
        {"name": "small_L3", "net.scale": 0.3},
        {"name": "small_aligned_L3", "net.scale": 0.3, "net.start": "aligned"},
    )
    return config_dict.create(
        experiment="parsimony.decay",
        name="",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 3, "width": size["width"], "scale": 1.0, "start": "independent"},
        opt={"step_size": 0.05, "decay_ratio": 0.1, "num_steps": size["num_steps"]},
        data={"case": 1, "spectrum": (1.0, 0.7, 0.4)},
        observe={"num_times": size["num_times"], "spacing": "even"},
        sweep={"opt": {"decay_ratio": RATIOS}},
        variants=tuple(each for each in variants if not size["names"] or each["name"] in size["names"]),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
