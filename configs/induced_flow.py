"""How fast linear networks with a single neuron learn, by their depth: Figure 1 and Theorem 20 of Eftekhari 2020.

    python -m experiments.main --config=configs/induced_flow.py[:smoke|cpu|paper]

m = 50 samples, d_x = 5, W_0 at 30 degrees from Z with ||W_0|| = 10 s_Z, depths N from 2 to 10. Figure 1 has d_y = 1 and
makes 10^5 Euler steps of 1e-6 s; an adaptive solver, observed at most every 1e-5 s, runs for comparison. The paper does
not give the distribution of Y, which determines s_Z. We draw Y ~ N(0, 1) (s_Z of 0.14 to 0.4), and we set s_Z to 0.1,
0.3, 1 and 2. The variant ``rescaled_time`` repeats this over x = m s_Z^{2-2/N} t up to x = 10. The other two have
d_y = 3. In ``ratios`` gamma_Z is a share of the largest that Theorem 20 allows, and W_0 is far away (beta = 10.5) or
nearby (beta = 1.5). In ``ratios_wide`` gamma_Z is 0.3 or 0.6, beyond that largest one.

Time on two cores: smoke 20 s, paper 5 minutes. Most of smoke's and cpu's time is compilation.
Expect: curves of one depth agree over x to 1e-13. At x = 10 the rates are within 2e-8 of m s_Z^{2-2/N} (1 - gamma_Z)
for d_y = 1, and within 1.6% for d_y = 3 and gamma_Z of 0.3 or more. Euler's method is off by 0.17 s_Z at s_Z = 2 and
N = 10. At s_Z = 0.1 the flow exceeds the bound as printed, for the squared distance, by a factor of e^5.6 or more.
"""

from ml_collections import ConfigDict, config_dict

# A scale of 0: the drawn Y determines s_Z.
EVERY_DEPTH, EVERY_SCALE = (2.0, 3.0, 4.0, 5.0, 10.0), (0.0, 0.1, 0.3, 1.0, 2.0)
PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 100, "depths": (2.0, 5.0), "scales": (0.1, 2.0)},
    "cpu": {"num_seeds": 3, "num_steps": 10_000, "depths": EVERY_DEPTH, "scales": EVERY_SCALE},
    "paper": {"num_seeds": 20, "num_steps": 10_000, "depths": EVERY_DEPTH, "scales": EVERY_SCALE},
}
# Each is a separate program, which takes longer to compile than to run.
IN_SMOKE = ("time", "rescaled_time")


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    # Up to 0.1 s in both profiles that reach the end of Figure 1, and up to x = 10.
    num_steps = max(100, size["num_steps"] // 4)
    rescaled_time = {"study": "rescaled_time", "opt.num_steps": num_steps, "opt.interval": 10.0 / num_steps}
    ratios = rescaled_time | {"data.num_outputs": 3, "sweep.data.scale": (0.1, 2.0)}
    variants = (
        {"name": "time"},
        {"name": "rescaled_time"} | rescaled_time,
        {"name": "ratios", "sweep.data.leading_ratio": (0.1, 0.5), "sweep.start.ratio": (1.5 / 1.05, 10.0)} | ratios,
        {"name": "ratios_wide", "data.leading_ratio_unit": "one", "sweep.data.leading_ratio": (0.3, 0.6)} | ratios,
    )
    return config_dict.create(
        experiment="induced_flow.rank_one",
        name="",
        study="time",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"depth": 2.0},
        data={
            "num_inputs": 5,
            "num_outputs": 1,
            "num_samples": 50,
            "scale": 0.0,
            "leading_ratio": 0.0,
            "leading_ratio_unit": "largest",
        },
        start={"angle": 30.0, "ratio": 10.0},
        bound={"alpha": 0.85, "margin": 1.05},
        opt={"interval": 1e-5, "substeps": 10, "rtol": 1e-10, "atol": 1e-13, "num_steps": size["num_steps"]},
        observe={"num_times": 102, "spacing": "log"},
        sweep={"net": {"depth": size["depths"]}, "data": {"scale": size["scales"]}},
        variants=tuple(variant for variant in variants if profile != "smoke" or variant["name"] in IN_SMOKE),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
