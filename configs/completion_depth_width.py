"""Depth and width in matrix completion: Figure 4 of Yaras et al. 2023, arXiv:2306.01154.

    python -m experiments.main --config=configs/completion_depth_width.py[:smoke|cpu|paper]

Deep linear networks of depth 2 and 3 and of hidden widths 10 to 100 complete a 100 x 100 matrix of rank 10 from 30% of
its entries, from eps-orthogonal weights (eps = 1e-3) to a mean loss of 1e-10. The step sizes are for the loss summed
over the observed entries; for the mean over all d^2 entries they are d^2 times as large. At depth 3 the step 0.03 is at
the edge of stability: in a trial that is not published, with a draw that is not among these seeds, the loss oscillates
up to the cap of steps at every width.

Time on two cores: smoke 30 s.
Expect (cpu): the recovery error is at most 2.1e-8 at depth 3 (bound 1e-6) and 6e-4 to 3e-3 at depth 2 from width 20 on
(bound 1e-4). Width 100 takes 0.33 to 0.39 times the steps of width 10 (bound 0.6). At depth 2 and width 10 one draw of
three is stuck.
"""

from ml_collections import ConfigDict, config_dict

STEP_SIZES = {2: 0.01, 3: 0.03}
PRINTED = {"size": 100, "rank": 10, "observed": 0.3, "scale": 1e-3, "tolerance": 1e-10, "num_steps": 60_000}
SMALL = {"size": 20, "rank": 2, "observed": 0.5, "scale": 0.1, "tolerance": 1e-6, "num_steps": 1000}
PROFILES = {
    "smoke": {**SMALL, "num_seeds": 2, "widths": (4, 10)},
    "cpu": {**PRINTED, "num_seeds": 3, "widths": (10, 20, 40, 100)},
    "paper": {**PRINTED, "num_seeds": 5, "widths": tuple(range(10, 101, 10))},
}


def get_config(profile: str = "cpu") -> ConfigDict:
    size = PROFILES[profile]
    return config_dict.create(
        experiment="parsimony.completion",
        name="",
        study="depth_width",
        seed=0,
        num_seeds=size["num_seeds"],
        precision="float64",
        net={"kind": "full", "depth": 3, "width": 100, "rank": size["rank"], "scale": size["scale"]},
        opt={
            "step_size": 0.03,
            "discrepancy": 0.01,
            "tolerance": size["tolerance"],
            "num_steps": size["num_steps"],
        },
        data={"size": size["size"], "rank": size["rank"], "observed": size["observed"]},
        observe={"num_times": 13, "spacing": "even"},
        sweep={},
        variants=tuple(
            {"name": f"L{depth}_w{width}", "net.depth": depth, "net.width": width, "opt.step_size": step_size}
            for depth, step_size in STEP_SIZES.items()
            for width in size["widths"]
        ),
        run={"chunk": 0, "batch": 0, "segment": 0, "checkpoint_seconds": 5.0},
    )
