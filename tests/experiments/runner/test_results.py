"""Results: how members and chunks become labelled arrays."""

import itertools
import json

import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from synthetic import config_of

from experiments.runner.experiment import Variable
from experiments.runner.netcdf import write_group
from experiments.runner.results import assemble, check_declared, streamed
from experiments.runner.settings import expand, hyperparameters, to_plain
from lawlib.dynamics.sweep import grid

SWEPT = ("opt.weight_decay", "opt.momentum")
FLAGGED = {"loss": Variable((), "1", "code"), "flag": Variable(("layer",), "1", "whether")}
CODE = {"loss": Variable((), "1", "code"), "unseen": Variable((), "1", "")}


def test_every_member_is_found_under_its_seed_and_hyperparameters():
    config = config_of("dln_parsimony", "sweep.net.scale=0.5,2.0", "num_seeds=3", "variants=({},)", profile="smoke")
    ((_, own),) = expand(config)
    members = grid(own.num_seeds, hyperparameters(own), "float64")
    assert len(members.seeds) == 3 * 2 * 2 * 2
    scale, momentum, decay = (members.hyperparameters[f] for f in ("net.scale", "opt.momentum", "opt.weight_decay"))
    times = np.array([0, 5, 9])
    whole = (1000 * members.seeds + 100 * scale + 10 * momentum + decay)[:, None] + 1e-3 * times
    never = np.full(len(whole), -1)
    chunks = [
        [
            {"loss": whole[rows, part], "converged_at": never[rows], "diverged_at": never[rows]}
            for part in (slice(2), [2])
        ]
        for rows in (slice(0, 10), slice(10, 20), slice(20, None))
    ]
    data = assemble("all", own, times, iter(chunks), CODE)
    assert data.loss.dims == ("seed", "scale", "momentum", "weight_decay", "step")
    assert list(data.data_vars) == ["loss", "converged_at", "diverged_at"]
    for seed, scale, momentum, decay, step in itertools.product(range(3), (0.5, 2), (0, 0.9), (0, 0.1), times):
        place = {"seed": seed, "scale": scale, "momentum": momentum, "weight_decay": decay, "step": step}
        assert float(data.loss.sel(place)) == 1000 * seed + 100 * scale + 10 * momentum + decay + 1e-3 * step
    assert (data.loss.attrs["units"], data.attrs["variant"]) == ("1", "all")
    assert json.loads(data.attrs["config"]) == json.loads(json.dumps(to_plain(own)))


def test_a_chunk_that_ended_early_repeats_its_last_observation():
    config = config_of("dln_momentum", "sweep.opt.momentum=0.0,0.9", "num_seeds=2", profile="smoke")
    ((_, own),) = expand(config)
    never = np.array([-1, -1])
    full = {"loss": np.arange(10.0).reshape(2, 5), "converged_at": never, "diverged_at": never}
    early = [
        {"loss": np.array([[7.0, 6.0], [3.0, 2.0]]), "converged_at": np.array([1, -1]), "diverged_at": never},
        {"loss": np.array([[6.0], [1.0]]), "converged_at": np.array([1, 2]), "diverged_at": never},
    ]
    data = assemble("early", own, np.arange(5), [[full], early], CODE)
    np.testing.assert_array_equal(data.loss.sel(seed=0).values, full["loss"])
    np.testing.assert_array_equal(data.loss.sel(seed=1).values, [[7, 6, 6, 6, 6], [3, 2, 1, 1, 1]])
    np.testing.assert_array_equal(data.converged_at.values, [[-1, -1], [1, 2]])


@given(
    grid=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    chunk=st.integers(1, 30),
    segment=st.integers(1, 3),
    data=st.data(),
)
def test_pieces_of_any_size_make_the_same_file(grid, chunk, segment, data, tmp_path_factory):
    """Members counted in the order of the grid, in chunks and segments, some of which end early."""
    num_seeds, *values = grid
    swept = [f"sweep.{name}={','.join(map(str, range(count)))}," for name, count in zip(SWEPT, values, strict=False)]
    fixed = [f"sweep.{name}=0.5," for name in SWEPT[len(values) :]]
    config = config_of("dln_parsimony", "variants=({},)", f"num_seeds={num_seeds}", *swept, *fixed, profile="smoke")
    ((name, own),) = expand(config)
    count, times = int(np.prod(grid)), np.array([0, 2, 3, 7])
    loss = np.arange(4.0 * count).reshape(count, 4)
    flag = np.arange(8 * count).reshape(count, 4, 2) % 3 == 0
    ends = [data.draw(st.integers(1, 4)) for _ in range(0, count, chunk)]
    pieces, wanted = [], {"loss": loss.copy(), "flag": flag.copy()}
    for index, end in enumerate(ends):
        rows = slice(index * chunk, (index + 1) * chunk)
        marks = {mark: np.arange(count)[rows] for mark in ("converged_at", "diverged_at")}
        firsts = range(0, end, segment)
        # A call that was cut may have observed nothing: at the start, in between and at the end.
        cuts = [slice(first, min(first + size, end)) for first in firsts for size in (0, segment)] + [slice(0)]
        pieces.append([{"loss": loss[rows, cut], "flag": flag[rows, cut], **marks} for cut in cuts])
        for observed in wanted.values():
            observed[rows, end:] = observed[rows, end - 1 : end]
    file = tmp_path_factory.mktemp("pieces") / "results.nc"
    xr.Dataset().to_netcdf(file, engine="h5netcdf")
    write_group(file, name, streamed(name, own, times, iter(pieces), FLAGGED))
    with xr.open_datatree(file, engine="h5netcdf") as opened:
        found = opened[name].to_dataset().load()
    assert found.identical(assemble(name, own, times, pieces, FLAGGED))
    for field, observed in wanted.items():
        np.testing.assert_array_equal(found[field].values.reshape(observed.shape), observed)
        assert found[field].dtype == observed.dtype
    assert found.converged_at.values.ravel().tolist() == list(range(count))


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        ({"loss": (), "gain": ()}, "variant a observes gain, which the experiment's VARIABLES do not declare"),
        ({"loss": (3,)}, r"variant a observes loss of shape \(3,\), and VARIABLES declare axes \(\)"),
    ],
)
def test_what_is_not_declared_is_refused_before_a_step(seen, line):
    shapes = {name: jax.ShapeDtypeStruct(shape, np.float64) for name, shape in seen.items()}
    with pytest.raises(ValueError, match=line):
        check_declared("a", shapes, CODE)
    check_declared("a", {"loss": jax.ShapeDtypeStruct((), np.float64)}, CODE)
