"""How much room there is: memory of the host and of each device, and disk."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

__all__ = ["Room", "room"]

MEMORY = Path("/proc/meminfo")
# What a container may use, what it uses and how that is divided: cgroup v2, then v1.
CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
# What is taken where a system tells nothing: no run is refused for want of memory.
UNKNOWN = 1 << 62


class Room(NamedTuple):
    """Bytes that are free: on the host, on each device, on the disk of the run folder."""

    host: int
    device: int
    disk: int


def room(folder: Path | None) -> Room:
    """The room that a run in this folder has; what it wrote before it was resumed counts as room. None writes nothing.

    CPU devices share the memory of the host, and a member that fills it has it for itself.
    """
    import jax

    host, devices = _host(), jax.local_devices()
    limits = devices[0].memory_stats() or {}
    on_device = limits.get("bytes_limit", UNKNOWN) if devices[0].platform != "cpu" else host
    if folder is None:
        return Room(host, on_device, UNKNOWN)
    nearest = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
    own = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Room(host, on_device, shutil.disk_usage(nearest).free + own)


def _host() -> int:
    return min((_available(), *(_left(*names) for names in CGROUPS)))


def _available() -> int:
    """The memory that the kernel could give without swapping; on systems without /proc all that is built in."""
    try:
        lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, LookupError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return UNKNOWN


def _left(folder: Path, limit: str, used: str) -> int:
    """What a container may still take. Files that the kernel keeps in memory count as used, but give way."""
    try:
        allowed, taken = (int((folder / name).read_text()) for name in (limit, used))
        parts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return allowed - taken + int(parts["inactive_file"]) + int(parts["active_file"])
    except (OSError, ValueError, LookupError):  # no container, or "max": no limit
        return UNKNOWN
