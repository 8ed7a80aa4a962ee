"""Errors are compared where the runs differ in the dimension of the subspace alone."""

from synthetic import cases_of, config_of, verdict

IDS = ("F2.fit", "F2.slope", "F2.apart")


def test_errors_under_several_weight_decays_are_not_compared():
    lawful, words = cases_of("inverse_problems.decay").lawful, ("sweep.opt.weight_decay=0.001,0.002",)
    before, after = (verdict(lawful, config_of("inverse_dimension", "num_seeds=2", *more)) for more in ((), words))
    assert {before[id].status for id in IDS} == {"holds"}
    assert {(after[id].status, after[id].reason) for id in IDS} == {
        ("not_run", "it compares runs that differ in data.subspace_dimension alone")
    }
