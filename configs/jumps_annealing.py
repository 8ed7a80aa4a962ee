"""SGD at a large step size and ridge jumps to rank 1, and never back: Figure 1 of Wang and Jacot 2024.

    python -m experiments.main --config=configs/jumps_annealing.py[:smoke|cpu|paper]

L = 3, width 100, eps = 0.25, weights from U(+-1/sqrt(fan_in)). SGD makes 500 steps with eta = 0.03 and lambda = 0.1,
then continues with eta = 0.2. Branches begin at several times and make 8000 steps with eta = 0.02 and lambda = 0.001.
eta and lambda are those of theta <- (1 - eta lambda) theta - eta grad (A*_ij - A_ij)^2. This update draws the paper's
figure; neither printed form does (variants main_text and appendix). Further variants: sampling without replacement;
weights from N(0, 1/w); runs kept at s2/s1 of 1e-4 to 1e-3, which show whether one returns; the same monitor on states
put back to rank 2; the decay of the imbalance near the flow.

Time on two cores: smoke 30 s, paper 30 minutes. cpu has 64 runs, each with seven branches, paper 256.
Expect: no jump before step 1200, half of the runs by step 5000, 98% by 20,000, none without replacement. s2/s1 is about
0.2 before the jump and below 1e-15 after it. The relative test error of branches is 0.003 after the jump and 0.44 to
0.67 before it. W(0) is forgotten: nine in ten runs of one seed jump at the same step from either kind of weights.
"""

from ml_collections import ConfigDict, config_dict

PROFILES: dict[str, dict] = {
    "smoke": {"num_seeds": 2, "branches": (600, 800), "branch_steps": 200, "monitor": 700, "control": 700, "save": 100},
    "cpu": {"num_seeds": 64, "branches": (1000, 2000, 3000, 5000, 8000, 12_000, 20_000), "monitor": 26_000},
    "paper": {
        "num_seeds": 256,
        "branches": (*range(1000, 9000, 1000), 10_000, 12_000, 16_000, 20_000),
        "monitor": 26_000,
    },
}
FULL = {"branch_steps": 8000, "control": 12_000, "save": 1000}


def get_config(profile: str = "cpu") -> ConfigDict:
    size: dict = FULL | PROFILES[profile]
    seeds, last = size["num_seeds"], max(size["branches"])
    long = {"schedule.branch": last, "schedule.branch_steps": 0, "opt.num_steps": last}
    short = long | {"num_seeds": min(seeds, 16), "schedule.branch": size["control"], "opt.num_steps": size["control"]}
    monitored = long | {"schedule.branch": size["monitor"], "opt.num_steps": size["monitor"]}
    flow = {"schedule.phases": (), "schedule.tail": (0.002, 0.1), "monitor.imbalance": True}
    return config_dict.create(
        experiment="rank_jumps.sgd",
        name="",
        study="annealing",
        seed=0,
        num_seeds=seeds,
        precision="float64",
        net={"depth": 3, "width": 100, "init": "uniform"},
        data={"epsilon": 0.25},
        opt={"form": "figures", "draws": "with_replacement", "num_steps": last + size["branch_steps"]},
        schedule={
            "phases": ((500, 0.03, 0.1),),
            "tail": (0.2, 0.1),
            "branch": last,
            "branch_steps": size["branch_steps"],
            "branch_step_size": 0.02,
            "branch_weight_decay": 0.001,
        },
        monitor={"put_back": "never", "save_at": size["save"], "imbalance": False},
        observe={"num_times": (last + size["branch_steps"]) // 100 + 1, "spacing": "even"},
        sweep={},
        variants=(
            {"name": "annealing", "sweep.schedule.branch": size["branches"]},
            long | {"name": "without_replacement", "opt.draws": "without_replacement"},
            long | {"name": "normal", "net.init": "normal"},
            monitored | {"name": "one_way", "monitor.put_back": "low"},
            short | {"name": "put_back_to_rank_2", "monitor.put_back": "high"},
            short | {"name": "main_text", "opt.form": "main_text"},
            short | {"name": "appendix", "opt.form": "appendix"},
            short | {"name": "balance"} | flow,
        ),
        run={"chunk": 0, "batch": 1, "segment": 0, "checkpoint_seconds": 5.0},
    )
