"""Blocks of seeds cover a variant once, in batches of the undivided run."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.runner.shards.cut import MOST_BLOCKS, Shard, cut, wasted
from lawlib.dynamics.sweep import Plan

SIZES = st.integers(1, 60)


@given(SIZES, st.integers(1, 9), st.integers(1, 8), st.integers(1, 4), st.integers(0, 70))
def test_every_seed_is_in_one_shard_and_batches_and_memory_are_those_of_the_plan(seeds, settings, batch, rounds, block):
    plan = Plan(batch * rounds, batch, 3)
    shards = cut("v", num_seeds=seeds, num_settings=settings, plan=plan, block=block)
    assert [seed for shard in shards for seed in shard.seeds] == list(range(seeds))
    for shard in shards:
        assert (shard.plan.batch, shard.plan.segment) == (batch, 3)
        assert shard.plan.chunk % batch == 0
        assert shard.plan.chunk <= plan.chunk
        assert 0 <= wasted(shard, settings) < shard.plan.chunk


@given(SIZES, st.integers(1, 9), st.integers(1, 8))
def test_by_default_there_are_few_blocks_and_all_but_the_last_are_whole_batches(seeds, settings, batch):
    shards = cut("v", num_seeds=seeds, num_settings=settings, plan=Plan(4 * batch, batch, 3))
    assert len(shards) <= MOST_BLOCKS
    assert all(len(shard.seeds) * settings % batch == 0 for shard in shards[:-1])


@pytest.mark.parametrize(
    ("seeds", "batch", "block", "starts", "filling"),
    [
        (10, 20, 0, [0, 5], 0),  # 4 settings: five seeds fill a batch
        (10, 20, 3, [0, 3, 6, 9], 8 + 8 + 8 + 16),
        (10, 4, 0, [0, 3, 6, 9], 4 + 4 + 4),  # three batches, in chunks of at most two
        (2, 20, 0, [0], 12),
    ],
)
def test_examples(seeds, batch, block, starts, filling):
    shards = cut("v", num_seeds=seeds, num_settings=4, plan=Plan(2 * batch, batch, 5), block=block)
    assert [shard.first for shard in shards] == starts
    assert sum(wasted(shard, 4) for shard in shards) == filling


def test_a_shard_is_read_as_it_was_recorded():
    shard = Shard("case1, L=3", 20, 30, Plan(40, 20, 5))
    assert Shard.of(json.loads(json.dumps(shard.record()))) == shard
    assert shard.name == "case1, L=3-20-29"
