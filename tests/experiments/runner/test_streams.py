"""Standard streams that are closed, full or read by nobody end no run."""

import errno
import io
import os
import sys

import pytest
from liveness import finish

from experiments.runner.checkout import SOURCE
from experiments.runner.setbacks import Setback
from experiments.runner.streams import Output, complain, write


class Failing(io.StringIO):
    """A stream on a disk that is full, or of a reader that left."""

    def __init__(self, code):
        super().__init__()
        self.code = code

    def flush(self):
        raise OSError(self.code, os.strerror(self.code))  # Python makes it a BrokenPipeError where it is one


def test_letters_that_the_output_does_not_know_are_escaped(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    write("π = 3\n")
    assert out.buffer.getvalue() == b"\\u03c0 = 3\n"


def test_no_output_at_all_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    write("text")
    with_nothing = Output()
    assert with_nothing.write("text") == 4
    assert not with_nothing.isatty()


@pytest.mark.reliability
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_output_is_said_once_and_the_rest_is_left_out(monkeypatch, capsys, code):
    monkeypatch.setattr(sys, "stdout", Failing(code))
    with pytest.raises(Setback, match=f"^standard output: {os.strerror(code)}$"):
        write("text")
    output = Output()
    for _ in range(3):
        output.write("text")
        output.flush()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (f"standard output: {os.strerror(code)}; the run goes on, and what it reports is in its folder")


def test_a_reader_that_leaves_is_not_said_at_all(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Failing(errno.EPIPE))
    write("text")
    Output().write("text")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stream", [None, Failing(errno.ENOSPC)])
def test_complaints_that_find_no_error_stream_are_no_error(monkeypatch, capsys, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    complain(["text"])
    assert capsys.readouterr().out == ""


CLOSED = """
import os, sys
from experiments.runner.streams import open_closed
for number in (0, 1, 2):
    os.close(number)
open_closed()
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print("lost", flush=True)
os.write(file, str(file).encode())
"""


@pytest.mark.reliability
def test_closed_streams_are_opened_so_that_no_file_takes_their_numbers(tmp_path):
    ended = finish([sys.executable, "-c", CLOSED, str(tmp_path / "file")], cwd=SOURCE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert int((tmp_path / "file").read_text()) > 2
