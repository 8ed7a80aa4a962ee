"""Angles are compared with psi = 0, and where it was not run there is nothing to compare them with."""

from synthetic import cases_of, config_of, runs_of, verdict

from experiments.laws.smooth_mlp.low_rank.claims import COMPARISONS, SUMMARY
from experiments.runner.summary import summarized


def test_without_an_angle_of_0_the_others_are_not_compared():
    lawful = cases_of("smooth_mlp.low_rank").lawful
    config = config_of("fashion_mnist_angle", "num_seeds=2", "sweep.net.angle=15.0,75.0,90.0")
    rows = verdict(lawful, config)
    compared = {id: row.status for id, row in rows.items() if id.startswith(("F14.near", "F14.worse", "F14.alike"))}
    assert compared == dict.fromkeys(("F14.near", "F14.worse", "F14.alike"), "not_run")
    assert rows["F14.right_angle"].status == "holds"
    assert summarized(runs_of(lawful, config), SUMMARY, COMPARISONS)["comparisons"] == {}
