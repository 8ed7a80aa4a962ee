"""Theorems 8 and 16 of Eftekhari 2020: the landscape of linear networks, and where their gradient flow ends.

    python -m experiments.main --config=configs/induced_flow_landscape.py[:smoke|cpu|paper]

Z is 3 x 5 with values (1, .3, .15) s_Z, m = 50. Gradient flow on the factors of networks with a single neuron, from
random balanced starts in N_alpha, alpha = .35, and from controls: unbalanced, mildly against Z_1, exactly against Z
(d_y = 1). The lemmas at random states; every stationary point of full rank, up to the choice of singular vectors, with
random invertible matrices between the layers, and 0.

Processor time, most of it compilation: smoke half a minute, cpu (60 starts of each kind) about 4 minutes.
Expect: all starts in N_alpha within 1e-8 of Z_1 at x = 60, no violation of a lemma, and 0 a strict saddle at N = 2.
"""

from ml_collections import ConfigDict, config_dict

PROFILES = {
    "smoke": {"num_seeds": 6, "num_states": 40},
    "cpu": {"num_seeds": 60, "num_states": 20},
    "paper": {"num_seeds": 1000, "num_states": 20},
}
# Each is a program of its own, and takes longer to compile than to run.
IN_SMOKE = ("inside_N3", "states_N2", "stationary_N3")


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    row = {"data.gap": 0.0, "start.kind": "opposite", "opt.num_steps": 20, "observe.num_times": 21}
    states = {"study": "states", "opt.num_steps": size["num_states"], "observe.num_times": size["num_states"] + 1}
    points = {"study": "stationary", "opt.num_steps": 6, "observe.num_times": 7}
    by_depth = {"N2": (5, 1, 3), "N3": (5, 1, 4, 3), "N5": (5, 3, 1, 2, 4, 3)}
    as_rows = {"N2": (5, 1, 1), "N3": (5, 3, 2, 1), "N5": (5, 3, 1, 2, 4, 1)}
    variants = (
        *({"name": f"inside_{N}", "net.widths": widths} for N, widths in by_depth.items()),
        *({"name": f"negative_{N}", "net.widths": by_depth[N], "start.kind": "negative"} for N in ("N2", "N3")),
        *({"name": f"opposite_{N}", "net.widths": widths} | row for N, widths in as_rows.items()),
        {"name": "unbalanced_N3", "net.widths": by_depth["N3"], "start.kind": "unbalanced"},
        {"name": "wide_rank1", "net.widths": (5, 4, 3, 3)},
        {"name": "wide_rank2", "net.widths": (5, 4, 3, 3), "start.rank": 2},
        *({"name": f"states_{N}", "net.widths": widths} | states for N, widths in by_depth.items()),
        {"name": "stationary_N2", "net.widths": (5, 1, 3)} | points,
        {"name": "stationary_N2_r2", "net.widths": (5, 2, 3)} | points,
        {"name": "stationary_N3", "net.widths": (5, 1, 4, 3)} | points,
        {"name": "stationary_N4_r2", "net.widths": (5, 4, 2, 3, 3)} | points,
    )
    return config_dict.create(
        experiment="flow_landscape",
        name="",
        study="convergence",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"widths": (5, 1, 3)},
        data={"num_samples": 50, "scale": 0.5, "gap": 0.3},
        start={"kind": "inside", "rank": 1},
        bound={"alpha": 0.35, "beta": 1.5},
        opt={"interval": 1.0, "rtol": 1e-10, "atol": 1e-12, "num_steps": 60},
        observe={"num_times": 61, "spacing": "even"},
        sweep={},
        variants=tuple(variant for variant in variants if profile != "smoke" or variant["name"] in IN_SMOKE),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
