"""The arithmetic and the counting of the benchmark on several processes."""

import pytest

from benchmarks import processes


def test_what_one_process_does_alone_does_not_shrink_with_devices():
    found = processes.on_paper(rate=1000.0)
    devices, members = processes.PAPER["64 devices, 10^5 members"]
    hours = members * processes.PAPER_STEPS / 1000 / devices / 3600
    assert found["on paper, 64 devices, 10^5 members: steps, hours"] == pytest.approx(hours)
    crossing = found["on paper: devices from which one run writes longer than it steps"]
    # With that many devices both take equally long.
    assert members * processes.PAPER_STEPS / (1000 * crossing) == pytest.approx(members * processes.JUDGED_S)


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("  %all-reduce.1 = f32[8]{0} all-reduce(%x), replica_groups={}", 1),
        ("  %g = (f32[8], f32[16]) all-gather-start(%x), dimensions={0}", 1),
        ("  %all-reduce.1 = f32[8]{0} add(%all-reduce, %y)", 0),
    ],
)
def test_operations_are_counted_and_not_their_names(line, count):
    assert len(processes.COLLECTIVE.findall(line)) == count
