"""A full disk in real processes, at every size that a file may have: one line, exit code 75, never a crash."""

import os
import shutil
import subprocess
import sys

import pytest
from liveness import finish

from experiments.runner.checkout import SOURCE
from experiments.runner.setbacks import is_full

# Writes the same results again and again, each time in a child that has less room: a file size limit, or what a large
# file leaves of a small file system. Prints how each child ended, and what they said.
WRITING = """
import os, resource, shutil, sys
from pathlib import Path
import numpy as np, xarray as xr
from experiments.runner.store import open_run
folder, way = Path(sys.argv[1]), sys.argv[2]
draw = np.random.default_rng(0)
values = draw.standard_normal((10, 60, 7))
group = xr.Dataset(
    {"loss": (("seed", "step"), values[..., 0], {"units": "1"}), "angle": (("seed", "step", "layer"), values)},
    {"seed": np.arange(10), "step": np.arange(60), "bias": ("layer", ["a", "b", "c", "d", "e", "f", "g"])},
)
groups = [("deep", group), ("wide", group)]
def write(num_bytes):
    with open_run(folder / "run", {"experiment": "toy"}) as run:
        if way == "limit" and num_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))
        run.write_results(groups, {"config": "{}"}, num_bytes=90_000)
def names():
    return sorted(path.name for path in (folder / "run").iterdir())
write(0)
size = (folder / "run" / "results.nc").stat().st_size
whole = (folder / "run" / "results.nc").read_bytes()
free = shutil.disk_usage(folder).free
for num_bytes in range(2000, size + 60_000, size // 30):
    (folder / "run" / "results.nc").unlink(missing_ok=True)
    (folder / "run" / "results.nc.sha256").unlink(missing_ok=True)
    if way == "disk":
        (folder / "ballast").write_bytes(b"x" * max(shutil.disk_usage(folder).free - num_bytes, 0))
    child = os.fork()
    if not child:
        try:
            write(num_bytes)
        except Exception as error:
            print(error, file=sys.stderr)
            os._exit(75 if type(error).__name__ == "Setback" else 70)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (folder / "ballast").unlink(missing_ok=True)
    if code:
        print(code, *names(), flush=True)
    else:
        print(code, (folder / "run" / "results.nc").read_bytes() == whole, flush=True)
"""


@pytest.fixture(params=["limit", "disk"])
def place(request, tmp_path):
    """A folder, and how its room is made small: by the size that files may have, or by a small file system."""
    if request.param == "limit":
        yield tmp_path, request.param
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield tmp_path, request.param
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.slow
@pytest.mark.reliability
def test_results_that_find_no_room_end_the_process_with_a_line_and_leave_nothing_behind(place):
    folder, way = place
    ended = finish([sys.executable, "-W", "ignore", "-c", WRITING, str(folder), way], cwd=SOURCE)
    assert ended.returncode == 0, ended.stderr
    codes = [line.split()[0] for line in ended.stdout.splitlines()]
    assert set(codes) == {"75", "0"}, ended.stdout
    assert codes == sorted(codes, reverse=True)
    for line in ended.stdout.splitlines():
        assert line in ("0 True", "75 .lock config.json", "75 .lock config.json results.nc.sha256")
    run = folder / "run"
    places = (
        f"{run / 'results.nc'}: no room for 90,000 bytes",
        f"{run / 'results.nc.sha256'}: no",
        f"{run / '.lock'}: no",
    )
    lines = ended.stderr.splitlines()
    assert len(lines) == codes.count("75")
    for line in lines:
        assert line.startswith(places)
        assert line.endswith("; make room and give the same command again, which resumes the run")


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(122, "Disk quota exceeded"), True),
        (OSError(27, "File too large"), True),
        (
            RuntimeError(
                "Can't close dataset (file write failed: errno = 28, error message = 'No space left on device')"
            ),
            True,
        ),
        (OSError(5, "Input/output error"), False),
        (ValueError("no space"), False),
        (None, False),
    ],
)
def test_a_full_disk_is_told_from_other_errors_however_a_library_wraps_it(error, full):
    assert is_full(error) == full
    if error:
        outer = RuntimeError("saving failed")
        outer.__cause__ = error
        assert is_full(outer) == full
