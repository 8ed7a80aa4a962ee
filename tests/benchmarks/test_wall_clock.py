"""The clock of a run: read off its log, from step 0 to the last observation before the end, or refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from benchmarks.wall_clock import VARIANT, clock, compared, main
from experiments.runner.store import InputError

STEPS = np.array([0, 10, 20, 30, 40, 50])


def observed(steps, members=1, converged=-1):
    losses = np.broadcast_to(1e-6 * 0.5 ** (np.arange(len(steps))), (members, len(steps)))
    return xr.Dataset(
        {"full_loss": (("seed", "step"), losses), "converged_at": ("seed", np.full(members, converged))},
        coords={"step": steps},
    )


@pytest.fixture
def run(tmp_path):
    """A run of two variants, which ends at step 33, and what may be written in its log."""
    results = {VARIANT: observed(STEPS, converged=33), "small_d1000_r5": observed(STEPS, members=2)}
    return SimpleNamespace(path=tmp_path, variants=dict.fromkeys(results), results=results)


def logged(run, *records):
    """Write a log: (variant, doing, share, second)."""
    names = "variant", "doing", "share"
    lines = [
        json.dumps(
            dict(zip(names, rest, strict=True)) | {"time": f"2026-01-01T00:{second // 60:02}:{second % 60:02}+00:00"}
        )
        for *rest, second in records
    ]
    (run.path / "log.jsonl").write_text("\n".join(lines) + "\n")


def test_seconds_are_counted_from_step_0_without_compiling(run):
    counts = [(1, 40), (1.6, 44), (2, 50), (3, 61), (3.9, 69), (4, 70), (6, 85)]
    during = [(VARIANT, "running", round(count / 18, 6), second) for count, second in counts]
    logged(run, (VARIANT, "compiling", 0.0, 1), *during, ("small_d1000_r5", "running", 12 / 18, 99))
    found = clock(run)
    # The member ends at step 33, which the observation of step 40 shows, and with it all later ones.
    np.testing.assert_array_equal(found.steps, [0, 10, 20, 30, 33])
    np.testing.assert_allclose(found.seconds, [0, 10, 21, 30, 45])
    np.testing.assert_allclose(found.losses, 1e-6 * 0.5 ** np.arange(5))


def test_observations_that_were_not_logged_are_left_out(run):
    during = [(VARIANT, "running", round(count / 18, 6), 10 * count) for count in (1, 3, 5)]
    logged(run, (VARIANT, "compiling", 0.0, 1), *during)
    np.testing.assert_array_equal(clock(run).steps, [0, 20, 33])


def test_a_run_that_does_not_end_before_its_last_step_is_read_to_it(run):
    run.results[VARIANT] = observed(STEPS)
    during = [(VARIANT, "running", round(count / 18, 6), 10 * count) for count in range(1, 7)]
    logged(run, (VARIANT, "compiling", 0.0, 1), *during)
    np.testing.assert_array_equal(clock(run).steps, STEPS)


def test_an_interrupted_run_has_no_clock(run):
    logged(run, *[(VARIANT, doing, 1 / 18, 5) for doing in ("compiling", "running", "compiling", "running")])
    with pytest.raises(InputError, match="was interrupted"):
        clock(run)


def test_another_config_is_refused(run):
    del run.variants[VARIANT]
    with pytest.raises(InputError, match="give a run of dln_factorization:paper"):
        clock(run)


@pytest.mark.parametrize("during", [[], [(VARIANT, "running", round(count / 18, 6), count) for count in (1, 2, 3)]])
def test_a_run_that_did_not_get_there_is_not_compared(run, during):
    logged(run, (VARIANT, "compiling", 0.0, 1), *during)
    with pytest.raises(InputError, match="1e-10 is compared; let it finish"):
        compared(clock(run))


@pytest.mark.parametrize(("words", "line"), [([], "give one run folder"), (["nowhere"], "nowhere")])
def test_bad_input_is_a_line(words, line, capsys):
    assert main(list(map(str, map(Path, words)))) == 2
    assert line in capsys.readouterr().err
