"""What XLA's concurrency-optimized scheduler gains, in processes with it on and off in turn."""

from collections.abc import Iterator

from benchmarks.stacks.children import NOTHING, Measured, Row, Stack, in_turn, measure, median, ratio
from experiments import DEVICES
from lawlib.cpu import SCHEDULER

# On several devices the sweep alone has work for all of them.
GROUPS = {1: ("sweeps", "networks"), 2: ("sweeps",)}
NUMBERED = "schedule"


def rows(stacks: tuple[Stack, Stack], rounds: int) -> Iterator[Row]:
    """Whether the scheduler is on as ``experiments`` leaves it, and step times with it on and off."""
    yield Row(f"scheduler as experiments leaves it ({SCHEDULER})", (_left(stacks[0]), _left(stacks[1])))
    for devices, groups in GROUPS.items():
        cells = [_cells(stack, devices, groups, rounds) for stack in stacks]
        for what in dict.fromkeys(name for each in cells for name in each):
            first, second = (each.get(what, NOTHING) for each in cells)
            yield Row(f"scheduler on, off, on / off, {devices} device{'s' * (devices > 1)}: {what}", (first, second))


def _left(stack: Stack) -> str:
    """By the order of a compiled program, which is that of one of the two settings."""
    left = measure(stack, NUMBERED)[NUMBERED]
    orders = {name: measure(stack, NUMBERED, environment=_set(value))[NUMBERED] for name, value in SETTINGS.items()}
    like = [name for name, order in orders.items() if order == left]
    return like[0] if len(like) == 1 else "not told apart" if like else "neither on nor off"


def _cells(stack: Stack, devices: int, groups: tuple[str, ...], rounds: int) -> dict[str, str]:
    if stack.is_affected:  # it would deadlock
        return {}

    def take(value: str) -> Measured:
        return measure(stack, *groups, environment=_set(value, f"--{DEVICES}={devices}"))

    on, off = in_turn(tuple(SETTINGS.values()), take, rounds)
    return {name: f"{median(on, name)}, {median(off, name)}, {ratio(on, off, name)}" for name in on[0]}


SETTINGS = {"on": "true", "off": "false"}


def _set(value: str, *flags: str) -> dict[str, str]:
    return {"XLA_FLAGS": " ".join([f"--{SCHEDULER}={value}", *flags])}
