"""The figures of both errors' decay compare members at equal times, up to the end of what the claims judge."""

import numpy as np
from inverse_problems.decay.cases import lawful
from synthetic import config_of, runs_of

from experiments.laws.inverse_problems.decay.claims import EARLY
from experiments.laws.inverse_problems.decay.figures import figures


def drawn_depth(change):
    config = config_of("inverse_depth", "num_seeds=3")
    return figures(runs_of(lawful, config, change))["depth"]


def slower(name, seen):
    """The last two members need twice as many steps for the same rescaled time, as with half the step size."""
    if name.endswith("early"):
        for field in ("rescaled_time", "off_subspace_error"):
            whole = np.array(seen[field])
            steps = np.arange(whole.shape[1])
            for member in (1, 2):
                whole[member] = np.interp(steps / 2, steps, whole[member])
            seen[field] = whole
        # Those two ended later than the runner was asked for: they made as many steps more.
        seen["rescaled_time"][1:] *= seen["rescaled_time"][0, -1] / seen["rescaled_time"][1:, -1:]
        seen["off_subspace_error"] = np.exp(-seen["rescaled_time"])


def test_curves_reach_the_end_of_the_claims_interval_where_members_differ_in_speed():
    drawn = drawn_depth(slower)
    early = drawn.axes[1]
    assert early.get_xlim()[1] >= EARLY[1]
    ends = [line.get_xdata()[-1] for line in early.lines if line.get_label().startswith("L = ")]
    np.testing.assert_allclose(ends, EARLY[1])


def test_members_are_compared_at_equal_times():
    early = drawn_depth(slower).axes[1]
    for line in early.lines:
        if line.get_label().startswith("L = "):
            np.testing.assert_allclose(line.get_ydata(), np.exp(-line.get_xdata()), rtol=1e-3)


def test_a_member_that_diverged_ends_its_own_curve_alone():
    def diverged(name, seen):
        if name == "L2_early":
            seen["diverged_at"] = np.array([-1, -1, 5])
            for field in ("rescaled_time", "off_subspace_error", "regression_error"):
                seen[field] = np.array(seen[field])
                seen[field][2, 3:] = np.nan

    early = drawn_depth(diverged).axes[1]
    (line,) = [line for line in early.lines if line.get_label() == "L = 2"]
    np.testing.assert_allclose(line.get_xdata()[-1], EARLY[1])
    assert np.isfinite(np.ma.filled(line.get_ydata(), np.nan)).all()
