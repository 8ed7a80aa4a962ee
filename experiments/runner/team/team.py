"""The processes of one run as a team: the first one reads, decides and writes, the others compute their share.

Process 0 holds the run folder, and alone reads and writes there: the others need no common file system. All make the
same calls of this module in the same order. In a run of one process every call returns what it was given, and nothing
is sent.

Whatever depends on a clock, a signal or a disk is decided by one process for all: how many steps the next call makes,
whether a checkpoint is due, whether the run ends here. So all run the same programs at the same time.
"""

import json
import os
import platform
import re
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from experiments.runner.command import BAD_INPUT
from experiments.runner.layout import differing
from experiments.runner.settings import ConfigError
from experiments.runner.store import InputError
from experiments.runner.team.peers import JOIN_S, Peers
from experiments.runner.team.supervisor import LOST

__all__ = ["Order", "Team", "join"]

T = TypeVar("T")
# Seconds after which a process that says nothing counts as dead: all end within a minute of it.
HEARTBEAT_S = 20
# What the errors of a collective say, by the library below it, when another process has ended.
ENDED = re.compile(r"gloo|nccl|coordination service|heartbeat|socket closed|connection (reset|closed|refused)", re.I)
MOST_DIFFERENCES = 5


class Order(NamedTuple):
    """What process 0 tells the others once it holds the folder: what the run is made under, or that it ends here."""

    conditions: Mapping[str, Any] | None
    code: int = 0


class Team:
    """The processes of a run; of one, unless ``join`` made it."""

    def __init__(self, num_processes: int = 1, process: int = 0):
        self.size, self.process = num_processes, process
        self._began, self._ending, self._parted = False, False, num_processes == 1

    @property
    def leads(self) -> bool:
        """Whether this process reads, decides and writes."""
        return self.process == 0

    @property
    def alone(self) -> bool:
        """Whether there is one process."""
        return self.size == 1

    # Telling ------------------------------------------------------------------------------------------------

    def told(self, value: Any = None) -> Any:
        """The value of process 0, in types that JSON has, in all of them."""
        if self.alone:
            return value
        data = np.frombuffer(json.dumps(value).encode() if self.leads else b"", np.uint8)
        size = int(_of_first(np.asarray([data.size], np.int32))[0])
        return json.loads(_of_first(np.resize(data, size) if self.leads else np.zeros(size, np.uint8)).tobytes())

    def arrays(self, tree: Any) -> Any:
        """The arrays of process 0, in all of them; the others give arrays of the same shapes, or their outline."""
        return tree if self.alone else jax.tree.map(self._array, tree)

    def _array(self, x: Any) -> Any:
        """Sent as bytes: a sum over processes, which a broadcast is, keeps no sign of a zero."""
        if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
            impl = self.told(str(jax.random.key_impl(x)) if self.leads else None)
            data = jax.random.key_data(x) if self.leads else jax.eval_shape(jax.random.key_data, x)
            return jax.random.wrap_key_data(self._array(data), impl=impl)
        size = x.size * x.dtype.itemsize
        data = np.frombuffer(np.asarray(x).tobytes(), np.uint8) if self.leads else np.zeros(size, np.uint8)
        return np.frombuffer(_of_first(data).tobytes() if size else b"", x.dtype).reshape(x.shape)

    def all_said(self, value: Any) -> list[Any]:
        """The values of all processes, in types that JSON has, in all of them."""
        if self.alone:
            return [value]
        data = np.frombuffer(json.dumps(value).encode(), np.uint8)
        sizes = _of_all(np.asarray([data.size], np.int32))[:, 0]
        padded = np.pad(data, (0, int(sizes.max()) - data.size))
        return [json.loads(row[:size].tobytes()) for row, size in zip(_of_all(padded), sizes, strict=True)]

    # Deciding -----------------------------------------------------------------------------------------------

    def begin(self, order: Order | None = None) -> Order:
        """What process 0 orders, in all of them; once in a run."""
        self._began, given = True, Order(*self.told(order))
        self._ending = given.conditions is None
        return given

    def dismiss(self, code: int) -> None:
        """End the others with this exit code if they still wait for an order: there is nothing to compute together."""
        if self.leads and not self._began and not self._ending:
            self.begin(Order(None, code))
            self.part()

    def agreed(self, check: Callable[[], T]) -> T:
        """What the check returns, if none of the processes is refused by it.

        Raises:
            InputError: One is. Process 0 has the problems of all, the others none.
        """
        if self.alone:
            return check()
        try:
            result, own = check(), []
        except (ConfigError, InputError) as refusal:
            result, own = None, list(refusal.problems)
        said = self.all_said([platform.node(), own])
        if not any(problems for _, problems in said):
            return result  # type: ignore[return-value]
        first = said[0][1]
        others = [
            f"process {index} on {host}: {line}"
            for index, (host, problems) in enumerate(said)
            for line in problems
            if line not in first
        ]
        self._ending = True
        raise InputError([*first, *others] if self.leads else [])

    def check_same(self, theirs: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Refuse to compute with process 0 under other conditions than its own; each process has a share of the run."""
        changed = differing(theirs, json.loads(json.dumps(own)))
        if changed:
            lines = [f"{path} is {new}, and {old} in process 0" for path, old, new in changed[:MOST_DIFFERENCES]]
            remedy = "give all processes the same command, code, versions and data, on devices of one kind"
            raise InputError([*lines, remedy])

    def most_steps(self, own: Callable[[], int | None]) -> Callable[[], int | None]:
        """The limit of process 0, in all of them."""
        if self.alone:
            return own

        def limit() -> int | None:
            most = own()
            told = int(_of_first(np.asarray([-1 if most is None else most], np.int32))[0])
            return None if told < 0 else told

        return limit

    def noted(self, *, asked: bool, due: bool) -> tuple[bool, bool]:
        """Whether any process was asked to stop, and whether process 0 finds that a checkpoint is due."""
        if self.alone:
            return asked, due
        said = _of_all(np.asarray([asked, due], np.int32))
        return bool(said[:, 0].any()), bool(said[0, 1])

    # Ending -------------------------------------------------------------------------------------------------

    def part(self) -> None:
        """Leave one another, all at once: from now on no process depends on another."""
        if not self._parted:
            self._parted = True
            jax.distributed.shutdown()

    def through(self, act: Callable[[], int]) -> int:
        """The exit code of an act; refused, it ends the others too, and LOST tells that another process has ended."""
        try:
            return act()
        except (ConfigError, InputError):
            self.dismiss(BAD_INPUT)
            raise
        except Exception as error:
            if self._parted or not ENDED.search(str(error)):
                raise
            return LOST

    def leave(self, code: int) -> int:
        """The exit code of this process; where the others go on without it, it ends here and waits for none of them."""
        if self._ending:
            self.part()
        if not self._parted:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)
        return code


def join(peers: Peers) -> Team:
    """Join the processes of a run; before JAX touches a device.

    Raises:
        InputError: They cannot be joined, in one line.
    """
    if peers.coordinator and peers.process == 0:
        _check_port(peers.coordinator)
    _keep_stdout()
    # JAX would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            peers.coordinator,
            peers.num_processes,
            peers.process,
            cluster_detection_method="deactivate" if peers.coordinator else None,
            initialization_timeout=JOIN_S,
            heartbeat_timeout_seconds=HEARTBEAT_S,
        )
    except Exception as error:  # of JAX and the libraries below it
        said = " ".join(str(error).split())
        by_hand = "where JAX finds no cluster, give --coordinator=HOST:PORT, --num-processes and --process to each"
        raise InputError([f"--distributed: the processes cannot be joined ({said}); {by_hand}"]) from error
    team = Team(jax.process_count(), jax.process_index())
    counts = team.all_said(jax.local_device_count())
    if len(set(counts)) > 1:
        by_process = ", ".join(map(str, counts))
        team.part()
        raise InputError(
            [f"--distributed: the processes have {by_process} devices; give each as many"] if team.leads else []
        )
    return team


def _check_port(coordinator: str) -> None:
    """Refuse a port on which another program listens; another run's process 0 would take a part of our processes."""
    port = int(coordinator.rpartition(":")[2])
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a run that has just ended it is free
        try:
            probe.bind(("", port))
        except OSError as error:
            line = f"--coordinator={coordinator}: process 0 cannot use port {port} of its host ({error.strerror})"
            raise InputError([f"{line}; give all processes another one"]) from error


def _keep_stdout() -> None:
    """Let what libraries print past Python, as Gloo does of each connection, go nowhere."""
    if sys.stdout:
        sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


# Collectives --------------------------------------------------------------------------------------------------


def _of_first(x: np.ndarray) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(x))


def _of_all(x: np.ndarray) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(x))
