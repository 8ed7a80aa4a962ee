"""The command that writes reports: where the page goes, and one line for whatever cannot be."""

import errno
import os
import shutil
import sys

import pytest
from blocked import without
from finished_folders import finished
from liveness import finish
from report_pages import Page, with_pictures
from source_tree import ROOT

from experiments import report
from experiments.reporting import launch as of_launch
from experiments.runner import files


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run with pictures, not to be changed."""
    return with_pictures(finished(tmp_path_factory.mktemp("made") / "toy"))


@pytest.fixture
def own(made, tmp_path):
    return shutil.copytree(made, tmp_path / "toy")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder: (exit code, lines on stdout, lines on stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = report.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def refused(answer, code=2):
    """The line of a command that was refused."""
    assert answer[:2] == (code, [])
    (line,) = answer[2]
    return line


def test_the_report_of_a_run_lies_in_its_folder_and_can_be_written_again(call, own):
    before = sorted(path.name for path in own.iterdir())
    code, (line,), err = call("toy")
    assert (code, err) == (0, [])
    assert line.startswith("report: toy/report.html (0.0")
    assert sorted([*before, "report.html"]) == sorted(path.name for path in own.iterdir())
    text = (own / "report.html").read_bytes()
    assert call("toy")[0] == 0
    assert (own / "report.html").read_bytes() == text
    assert Page(text.decode()).faults == []


def test_the_report_of_several_runs_lies_in_runs_and_o_chooses_another_place(call, own, tmp_path):
    shutil.copytree(own, tmp_path / "other")
    assert call("toy", "other")[1][0].startswith("report: runs/report.html")
    assert len(Page((tmp_path / "runs" / "report.html").read_text()).all("article")) == 2
    assert call("toy", "-o", "new/page.html")[0] == 0
    assert (tmp_path / "new" / "page.html").exists()


def test_two_runs_of_one_name_are_told_apart(call, own, tmp_path):
    shutil.copytree(own, tmp_path / "more" / "toy")
    assert call("toy", "more/toy", "toy")[0] == 0
    titles = Page((tmp_path / "runs" / "report.html").read_text()).all("h2")
    assert {"toy", "more/toy", "toy (2)"} <= {title.said for title in titles}


def test_a_published_folder_wants_a_place(call, own):
    for file in own.glob("results.nc*"):
        file.unlink()
    assert refused(call("toy")).startswith("toy: is a published folder, which holds no report")
    assert call("toy", "-o", "page.html")[0] == 0


# What cannot be. ------------------------------------------------------------------------------------------------------


def test_every_folder_that_cannot_be_read_has_its_line(call, own, tmp_path):
    (tmp_path / "empty").mkdir()
    unfinished = shutil.copytree(own, tmp_path / "unfinished")
    (unfinished / "claims.json").unlink()
    torn = shutil.copytree(own, tmp_path / "torn")
    (torn / "claims.json").write_text('{"claims": [')
    code, out, err = call("toy", "none", "empty", "unfinished", "torn", "-o", "toy")
    assert (code, out) == (2, [])
    starts = ["none: there is no such folder", "empty: is not a run folder", "unfinished: the run is not finished"]
    starts += ["torn/claims.json: is damaged", "toy: is a folder"]
    assert all(line.startswith(start) for line, start in zip(err, starts, strict=True))
    assert not (own / "report.html").exists()


@pytest.mark.parametrize("keep", ["digest", "none"])
def test_damaged_results_are_one_line(call, own, keep):
    content = bytearray((own / "results.nc").read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (own / "results.nc").write_bytes(content)
    if keep == "none":
        (own / "results.nc.sha256").unlink()
    assert refused(call("toy")).startswith("toy/results.nc: cannot be read, it is cut short or damaged")
    assert not (own / "report.html").exists()


def test_every_damaged_picture_has_its_line(call, own):
    for name in ("loss", "layers_plain"):
        file = own / "figures" / f"{name}.png"
        file.write_bytes(file.read_bytes()[:60])
    code, _, err = call("toy")
    assert code == 2
    assert [line.partition(": is not a whole PNG")[0] for line in err] == [
        "toy/figures/layers_plain.png",
        "toy/figures/loss.png",
    ]
    assert all("--replot draws it again" in line for line in err)


def test_no_file_but_a_report_is_replaced(call, own, tmp_path):
    kept = (own / "claims.json").read_bytes()
    assert refused(call("toy", "-o", "toy/claims.json")).startswith(
        "toy/claims.json: holds something other than a report"
    )
    assert (own / "claims.json").read_bytes() == kept
    (tmp_path / "file").write_text("x")
    assert refused(call("toy", "-o", "file/page.html")).startswith("file/page.html: ")
    assert "is a file" in refused(call("toy", "-o", "file/page.html"))
    assert refused(call("toy", "-o", "x" * 300 + ".html")).endswith("choose another -o FILE")
    assert refused(call("toy", "-o", "a\0b")).endswith("choose another -o FILE")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_line(call, own):
    own.chmod(0o555)
    try:
        assert "cannot be written to" in refused(call("toy"))
    finally:
        own.chmod(0o755)


@pytest.mark.parametrize(
    ("code", "exit_code"), [(errno.EACCES, 2), (errno.EROFS, 2), (errno.ENOSPC, 75), (errno.EDQUOT, 75)]
)
def test_a_page_that_cannot_be_written_is_one_line_and_leaves_nothing(call, own, monkeypatch, code, exit_code):
    before = sorted(path.name for path in own.iterdir())

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "_fsync", fail)
    line = refused(call("toy"), exit_code)
    assert line.startswith("toy/report.html: ")
    assert "resume" not in line
    assert sorted(path.name for path in own.iterdir()) == before


def test_an_interrupt_is_quiet_and_an_error_of_ours_is_shown(call, own, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(of_launch, "page", interrupted)
    assert call("toy") == (130, [], [])
    monkeypatch.setattr(of_launch, "page", lambda _: 1 / 0)
    code, _, err = call("toy")
    assert code == 70
    assert err[-1] == "ZeroDivisionError: division by zero"


def test_options_are_checked(call):
    assert refused(call()) == "the following arguments are required: RUN (see --help)"
    assert refused(call("run", "--to=csv")) == "unrecognized arguments: --to=csv (see --help)"


def test_a_missing_package_is_one_line():
    program = without("jinja2") + "from experiments.report import main\nsys.exit(main(['run']))"
    child = finish([sys.executable, "-c", program], cwd=ROOT)
    assert (child.returncode, child.stdout) == (2, "")
    assert child.stderr.startswith("experiments.report needs jinja2 (extra run): ")


def test_output_without_room_is_a_line(own, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert report.main([str(own)]) == 75
    assert capsys.readouterr().err == "standard output: No space left on device\n"
