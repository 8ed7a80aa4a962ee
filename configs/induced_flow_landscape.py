"""The landscape of linear networks, and where their gradient flow ends: Theorems 8 and 16 of Eftekhari 2020.

    python -m experiments.main --config=configs/induced_flow_landscape.py[:smoke|cpu|paper]

Z is 3 x 5 with the singular values (1, 0.3, 0.15) s_Z, m = 50. The ``flow`` variants follow gradient flow on the
factors of networks with a single neuron. Their starts are random, balanced and in N_alpha, alpha = 0.35, with three
controls: unbalanced, mildly against Z_1, and exactly against Z (d_y = 1). The ``states`` variants check the lemmas at
random states. The ``stationary`` variants visit 0 and every stationary point of full rank, up to the choice of singular
vectors, with random invertible matrices between the layers.

Time on two cores: smoke 20 s, paper 6 minutes. Most of smoke's and cpu's time is compilation.
Expect: all balanced starts in N_alpha are within 2e-14 s_Z of Z_1 at x = 60 (bound 1e-8), no lemma is violated, and 0
is a strict saddle at N = 2.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 6, "num_states": 40},
    "cpu": {"num_seeds": 50, "num_states": 20},
    "paper": {"num_seeds": 1000, "num_states": 20},
}
# Each is a separate program, which takes longer to compile than to run.
IN_SMOKE = ("flow_N2", "stationary_N2")


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    # Alignments u^T Z_1 v / s_Z of the starts: in [0.35, 1], in [-0.7, -0.05], and -1. With -0.9 in place of -0.7, one
    # start in 50 is still near 0 at x = 60 for N = 5.
    both, opposite = (
        {"sweep.start.least": (0.35, -0.7)},
        {"start.least": -1.0, "start.spread": 0.0, "data.leading_ratio": 0.0},
    )
    until = {"opt.num_steps": 20, "observe.num_times": 21}
    states = {"study": "states", "opt.num_steps": size["num_states"], "observe.num_times": size["num_states"] + 1}
    points = {"study": "stationary", "opt.num_steps": 6, "observe.num_times": 7}
    variants = (
        {"name": "flow_N2", "net.widths": (5, 1, 3)} | both,
        {"name": "flow_N3", "net.widths": (5, 1, 4, 3), "sweep.start.skew": (1.0, 1.5)} | both,
        {"name": "flow_N5", "net.widths": (5, 3, 1, 2, 4, 3)} | both,
        {"name": "opposite_N2", "net.widths": (5, 1, 1)} | opposite | until,
        {"name": "opposite_N3", "net.widths": (5, 3, 2, 1)} | opposite | until,
        {"name": "rank2_N3", "net.widths": (5, 4, 3, 3), "start.rank": 2} | until,
        {"name": "states_N2", "net.widths": (5, 1, 3)} | states,
        {"name": "states_N5", "net.widths": (5, 3, 1, 2, 4, 3)} | states,
        {"name": "stationary_N2", "net.widths": (5, 1, 3)} | points,
        {"name": "stationary_N3", "net.widths": (5, 1, 4, 3)} | points,
        {"name": "stationary_N4_r2", "net.widths": (5, 4, 2, 3, 3)} | points,
    )
    return config_dict.create(
        experiment="induced_flow.landscape",
        name="",
        study="convergence",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"widths": (5, 1, 3)},
        data={"num_samples": 50, "scale": 0.5, "leading_ratio": 0.3},
        start={"rank": 1, "least": 0.35, "spread": 0.65, "skew": 1.0},
        bound={"alpha": 0.35, "beta": 1.5},
        opt={"interval": 1.0, "rtol": 1e-10, "atol": 1e-12, "num_steps": 60},
        observe={"num_times": 61, "spacing": "even"},
        sweep={},
        variants=tuple(variant for variant in variants if profile != "smoke" or variant["name"] in IN_SMOKE),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
