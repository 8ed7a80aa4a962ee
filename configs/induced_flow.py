"""Figure 1 and Theorem 20 of Eftekhari 2020: how fast linear networks with a single neuron learn, by their depth.

    python -m experiments.main --config=configs/induced_flow.py[:smoke|cpu|paper]

m = 50 samples, d_x = 5, W_0 at 30 degrees from Z with ||W_0|| = 10 s_Z, depths 2 to 10. Figure 1 has d_y = 1: 10^5
Euler steps of 1e-6 s, beside an adaptive solver seen every 1e-5 s. The paper does not give the law of Y, which sets
s_Z: Y ~ N(0, 1) (s_Z near .3), and s_Z of .1, .3, 1 and 2. The same on the clock x = m s_Z^{2-2/N} t up to x = 10; and
d_y = 3 with gamma_Z a share of the largest that Theorem 20 allows, from afar (beta = 10.5) and from nearby (beta =
1.5), and with gamma_Z of .3 and .6, beyond it.

Processor time, most of it compilation: smoke half a minute, cpu (3 seeds) 3 minutes, paper (20 seeds) about 10.
Expect: curves of one depth equal on the clock to 1e-11, rates nearby within .1% of m s_Z^{2-2/N} at x = 10, Euler's
method off by .17 s_Z at s_Z = 2 and N = 10, the bound as printed broken at s_Z = .1 by a factor e^6 and more.
"""

from ml_collections import ConfigDict, config_dict

EVERY_DEPTH, EVERY_SCALE = (2.0, 3.0, 4.0, 5.0, 10.0), (0.1, 0.3, 1.0, 2.0)
PROFILES = {
    "smoke": {"num_seeds": 2, "num_steps": 100, "depths": (2.0, 5.0), "scales": (0.1, 2.0)},
    "cpu": {"num_seeds": 3, "num_steps": 10_000, "depths": EVERY_DEPTH, "scales": EVERY_SCALE},
    "paper": {"num_seeds": 20, "num_steps": 10_000, "depths": EVERY_DEPTH, "scales": EVERY_SCALE},
}
# Each is a program of its own, and takes longer to compile than to run.
IN_SMOKE = ("fixed", "clock_fixed")


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    # Up to .1 s in both profiles that reach Figure 1's end, and up to x = 10.
    clock = {"study": "clock", "opt.interval": 10.0 / size["num_steps"]}
    fixed = {"data.law": "spectrum", "sweep.data.scale": size["scales"]}
    gaps = fixed | clock | {"data.num_outputs": 3, "sweep.data.gap": (0.1, 0.5)}
    variants = (
        {"name": "gaussian"},
        {"name": "fixed"} | fixed,
        {"name": "halved", "opt.substeps": 20} | fixed,
        {"name": "clock_gaussian"} | clock,
        {"name": "clock_fixed"} | fixed | clock,
        {"name": "gap_afar"} | gaps,
        {"name": "gap_nearby", "start.ratio": 1.4, "bound.beta": 1.5} | gaps,
        {"name": "gap_wide", "data.gap_unit": "one"} | gaps | {"sweep.data.gap": (0.3, 0.6)},
    )
    return config_dict.create(
        experiment="induced_flow",
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
            "law": "gaussian",
            "scale": 1.0,
            "gap": 0.0,
            "gap_unit": "largest",
        },
        start={"angle": 30.0, "ratio": 10.0},
        bound={"alpha": 0.85, "beta": 10.5},
        opt={"interval": 1e-5, "substeps": 10, "rtol": 1e-10, "atol": 1e-13, "num_steps": size["num_steps"]},
        observe={"num_times": 102, "spacing": "log"},
        sweep={"net": {"depth": size["depths"]}},
        variants=tuple(variant for variant in variants if profile != "smoke" or variant["name"] in IN_SMOKE),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
