"""Files appear whole or not at all, also where the disk is full or the file system does less than others."""

import errno
import json
import os

import numpy as np
import pytest

from experiments.runner import files
from experiments.runner.setbacks import Setback


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.is_file() and p.read_bytes() for p in folder.rglob("*")}


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    files.write_atomic(tmp_path / "file", "old")
    with pytest.raises(RuntimeError), files.replacing(tmp_path / "file") as partial:  # noqa: PT012
        partial.write_text("ne")
        raise RuntimeError
    assert tree(tmp_path) == {"file": b"old"}
    files.write_atomic(tmp_path / "file", b"new")
    assert tree(tmp_path) == {"file": b"new"}


def test_json_is_strict_and_takes_numpy(tmp_path):
    files.write_json(tmp_path / "f", {"a": np.float32(0.5), "b": np.arange(2), "c": (np.nan, -np.inf), 1: np.True_})
    found = json.loads((tmp_path / "f").read_text(), parse_constant=pytest.fail)
    assert found == {"a": 0.5, "b": [0, 1], "c": [None, None], "1": True}


@pytest.mark.reliability
@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_that_syncs_no_folders_takes_files_all_the_same(tmp_path, monkeypatch, code):
    synced, fsync = [], os.fsync

    def of_files_alone(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    files.write_atomic(tmp_path / "file", "new")
    assert tree(tmp_path) == {"file": b"new"}
    assert len(synced) == 1


@pytest.mark.parametrize(("of_folder", "code"), [(False, errno.EINVAL), (True, errno.EIO)])
def test_other_failures_to_sync_are_errors(tmp_path, monkeypatch, of_folder, code):
    def failing(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}") == of_folder:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match=os.strerror(code)):
        files.write_atomic(tmp_path / "file", "new")


@pytest.mark.reliability
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_setback_that_names_the_file_and_its_bytes(tmp_path, monkeypatch, code):
    files.write_atomic(tmp_path / "file", "old")

    def full(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Setback, match=f"^{tmp_path / 'file'}: no room for 7,000 bytes"):
        files.write_atomic(tmp_path / "file", b"x" * 7000)
    assert tree(tmp_path) == {"file": b"old"}
