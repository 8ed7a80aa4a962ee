"""The command line: what is refused, in which words, with which exit code, and that nothing is left behind."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from liveness import communicate

from experiments.main import main

# Variants with a value of their own keep it, and the user is warned.
pytestmark = pytest.mark.filterwarnings("ignore:.* is not for variants with a value of their own")

ROOT = Path(__file__).parents[2]
PARSIMONY = f"--config={ROOT}/configs/dln_parsimony.py:smoke"
CONFIG = """
from ml_collections import config_dict
def get_config(profile):
    {body}
"""


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """The lines on stderr of a command that must end with 2 and make nothing."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert sorted(tmp_path.rglob("*")) == before
        return err.splitlines()

    return run


BAD_FIELDS = {
    "unknown field": (
        ["--config.net.deph=3"],
        ["net.deph = 3: unknown field; did you mean net.depth?"],
    ),
    "unknown group": (["--config.nets.depth=3"], ["nets.depth = 3: unknown field; did you mean net.depth?"]),
    "zero scale": (["--config.net.scale=0.0"], ["net.scale = 0.0: must be a finite number > 0.0"]),
    "nan step": (["--config.opt.step_size=nan"], ["opt.step_size = 'nan': must be a finite number"]),
    "infinite step": (["--config.opt.step_size=1e999"], ["opt.step_size = inf: must be a finite number"]),
    "momentum": (
        ["--config.sweep.opt.momentum=0.0,1.0"],
        ["sweep.opt.momentum = 1.0: must be a finite number >= 0.0 and < 1.0"],
    ),
    "empty sweep": (
        ["--config.sweep.opt.weight_decay=()"],
        ["sweep.opt.weight_decay = (): must be a tuple of one value or more"],
    ),
    "swept shape": (
        ["--config.sweep.data.num_samples=30,40"],
        [
            "sweep.data.num_samples = (30, 40): cannot be swept; use variants "
            "(what can be swept: net.scale, opt.step_size, opt.weight_decay, opt.momentum, data.condition)"
        ],
    ),
    "swept field": (
        ["--config.opt.momentum=0.5"],
        ["opt.momentum = 0.5: is swept; set --config.sweep.opt.momentum=0.5,"],
    ),
    "wrong type": (["--config.net.depth=2.5"], ["net.depth = 2.5: must be an integer"]),
    "no value": (["--config.net.depth"], ["--config.net.depth: has no value; write --config.net.depth=VALUE"]),
    "no override": (["--wrokdir=x"], ["--wrokdir=x: is not an override; write --config.FIELD=VALUE"]),
    "no seeds": (["--config.num_seeds=0"], ["num_seeds = 0: must be an integer >= 1 and <= 4294967296"]),
    "negative segment": (["--config.run.segment=-1"], ["run.segment = -1: must be an integer >= 0"]),
    "no steps": (
        ["--config.opt.num_steps=0"],
        ["variants case1_L3, case2_L2, case1_L3_float32: opt.num_steps = 0: must be an integer >= 1 and <= 2147483646"],
    ),
}


@pytest.mark.parametrize(("words", "lines"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_bad_field_has_one_line_and_nothing_is_made(refused, words, lines):
    assert refused(PARSIMONY, *words) == lines


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
        ({"net.width": 6}, "net.width = 6: must exceed 2 * data.rank = 6"),
        ({"data.rank": 15}, "data.rank = 15: must exceed"),
        ({"opt.step_size": -1.0}, "opt.step_size = -1.0: must be a finite number > 0.0"),
        (
            {"data.source": "images"},
            "data.source = 'images': must be one of 'low_rank', 'gaussian', 'digits', 'fashion_mnist', 'conditioned'",
        ),
        (
            {"data.whiten": False},
            "data.whiten = False: must be True for data.source = 'low_rank', whose inputs are I",
        ),
        (
            {"data.source": "gaussian", "data.num_samples": 29},
            "data.num_samples = 29: must be >= net.width = 30 to be whitened",
        ),
    ],
)
def test_what_the_experiment_asks_of_its_variants(refused, fields, line):
    variants = f"--config.variants=({ {'name': 'mine', **fields}!r},)"
    if "data.rank" in fields:
        line = "net.width = 30: must exceed 2 * data.rank = 30"
    assert refused(PARSIMONY, variants) == [line]


@pytest.mark.reliability
@pytest.mark.parametrize("name", ["a\nb", "nul\0", "x" * 151, "\x1b[31m", "\udcff", "π" * 76])
def test_a_variant_whose_name_is_none_of_a_file_is_refused(refused, name):
    variants = "--config.variants=(" + repr({"name": name}) + ",)"
    (line,) = refused(PARSIMONY, variants)
    assert line.startswith("variants = ({'name': ")
    assert line.endswith("is none; give the variant a 'name'")
    assert line.isprintable()


def test_a_problem_of_some_variants_is_one_line_too(refused):
    (line,) = refused(PARSIMONY, "--config.opt.step_size=-1.0")
    most = "case1_L3, case2_L2, case1_L3_float32"
    assert line == f"variants {most}: opt.step_size = -1.0: must be a finite number > 0.0"


def test_several_problems_come_at_once(refused):
    words = ["--config.net.deph=3", "--config.net.scale=-1.0", "--config.num_seeds=0", "--config.net.depth=2.5"]
    said = refused(PARSIMONY, *words)
    for field in ("net.deph", "net.scale", "num_seeds", "net.depth"):
        assert len([line for line in said if line.startswith(f"{field} = ")]) == 1


def test_the_folder_asked_for_is_not_made(refused, tmp_path):
    refused(PARSIMONY, f"--workdir={tmp_path / 'deep' / 'run'}", "--config.net.scale=0.0")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("place", ["figures/dln_momentum", "figures/new", "configs/../figures"])
def test_a_run_is_not_made_among_what_is_published(refused, place):
    (line,) = refused(PARSIMONY, f"--workdir={ROOT / place}")
    assert line.startswith(f"--workdir={ROOT / place}: figures/ holds what is published")


def test_words_that_are_no_options_are_named_where_there_is_no_config(refused):
    missing = "--config=FILE[:PROFILE] is missing; --list shows the configs"
    named = [f"{word}: is not an option (see --help)" for word in ("--confg=x.py", "list")]
    assert refused("--confg=x.py", "list", "--config.net.depth=3") == [missing, *named]


def test_a_workdir_that_is_a_file(refused, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert refused(PARSIMONY, f"--workdir={taken}") == [
        f"{taken}: {taken} is a file; a run needs a folder or an unused path"
    ]
    assert taken.read_text() == "mine"


def test_a_folder_of_something_else(refused, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    (line,) = refused(PARSIMONY, f"--workdir={tmp_path / 'photos'}")
    assert "not a run folder" in line


def test_a_home_that_the_shell_left_as_it_is(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.expanduser", lambda path: str(path).replace("~", str(tmp_path / "home")))
    reported = "has no results.nc to draw again; run it first, without --replot"
    assert refused(PARSIMONY, "--workdir=~/run", "--replot") == [f"{tmp_path}/home/run: {reported}"]


def test_a_replot_of_a_name_too_long_for_a_folder(refused):
    assert len(refused(PARSIMONY, f"--workdir={'x' * 300}", "--replot")) == 1


def test_a_replot_of_nothing_does_not_run(refused, tmp_path):
    (line,) = refused(PARSIMONY, f"--workdir={tmp_path / 'none'}", "--replot")
    assert line == f"{tmp_path / 'none'}: has no results.nc to draw again; run it first, without --replot"


def test_a_module_of_the_runner_is_no_experiment(refused):
    (line,) = refused(PARSIMONY, "--config.experiment=plots")
    assert line.startswith("experiment = 'plots': is not a package of experiments/laws")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "--config=FILE[:PROFILE] is missing; --list shows the configs"),
        (["--strict"], "--config=FILE[:PROFILE] is missing; --list shows the configs"),
        (["--config"], "argument --config: expected one argument (see --help)"),
        (
            [PARSIMONY, "--list", "--strict", "--config.net.depth=3"],
            "--list runs nothing and cannot be given together with --config, --strict, --config.net.depth=3; "
            "leave out one of them",
        ),
        (["--list", "colapse"], "--list colapse: no config has colapse; did you mean collapse?"),
    ],
)
def test_options_that_do_not_go_together(refused, words, line):
    assert refused(*words) == [line]


def test_a_missing_file_has_its_nearest_name(refused):
    (line,) = refused(f"--config={ROOT}/configs/dln_parsimoni.py")
    assert "there is no file" in line
    assert line.endswith(f"did you mean {ROOT}/configs/dln_parsimony.py?")


def test_a_name_without_a_folder_has_its_file(refused):
    (line,) = refused("--config=dln_parsimony")
    assert (
        line == f"--config=dln_parsimony: there is no file dln_parsimony; did you mean {ROOT}/configs/dln_parsimony.py?"
    )


def test_a_name_like_no_other(refused):
    (line,) = refused("--config=@.py")
    assert line == "--config=@.py: there is no file @.py; --list shows the configs"


@pytest.mark.parametrize(
    ("name", "profiles"),
    [("dln_parsimony", "smoke, cpu, paper"), ("fashion_mnist_low_rank", "smoke, cpu, once, pooled, uniform, paper")],
)
def test_an_unknown_profile(refused, name, profiles):
    (line,) = refused(f"--config={ROOT}/configs/{name}.py:papre")
    assert line.endswith(f"unknown profile 'papre'; the profiles are {profiles}")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "line 4 raised ZeroDivisionError: division by zero"),
        ("return {}", "get_config returned dict, must return an ml_collections ConfigDict"),
        ("return config_dict.create(", "line 4 raised SyntaxError"),
    ],
)
def test_a_config_file_that_fails(refused, tmp_path, body, said):
    (tmp_path / "mine.py").write_text(CONFIG.format(body=body))
    (line,) = refused(f"--config={tmp_path}/mine.py")
    assert said in line


def test_a_config_without_an_experiment_of_ours(refused, tmp_path):
    (tmp_path / "mine.py").write_text(CONFIG.format(body="return config_dict.create(experiment='parsimoni', seed=0)"))
    said = refused(f"--config={tmp_path}/mine.py")
    start = "experiment = 'parsimoni': is not a package of experiments/laws; did you mean parsimony."
    assert [line for line in said if line.startswith(start)]


def test_every_field_is_shown_and_nothing_is_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([PARSIMONY, "--show", "--config.net.width=20"]) == 0
    shown = capsys.readouterr().out
    for word in ("net.width", "20", "integer >= 1", "may be swept", "variant case1_L3"):
        assert word in shown
    assert list(tmp_path.iterdir()) == []


def test_the_fields_of_a_config_that_cannot_run_are_shown_too(tmp_path, capsys, monkeypatch, no_data):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAWLIB_DATA", str(tmp_path))
    config = f"--config={ROOT}/configs/vgg16_cifar10.py:smoke"
    assert main([config, "--show", f"--config.data.folder={tmp_path}", "--config.opt.step_size=-1.0"]) == 2
    out, err = capsys.readouterr()
    assert re.search(r"^opt\.step_size +-1\.0 +number >= 0\.0 ", out, re.MULTILINE)
    assert "opt.step_size = -1.0: must be a finite number >= 0.0" in err


def test_a_config_that_cannot_be_formed_is_not_shown(refused):
    assert refused(PARSIMONY, "--show", "--config.net.deph=3") == [
        "net.deph = 3: unknown field; did you mean net.depth?"
    ]
    (line,) = refused(PARSIMONY, "--show", "--config.experiment=plots")
    assert line.startswith("experiment = 'plots': is not a package of experiments/laws")


def test_every_config_has_a_line_in_the_list(capsys):
    assert main(["--list"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith("config ")
    assert [line.split()[0] for line in lines] == sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


@pytest.mark.slow
def test_the_list_needs_nothing_but_python_and_survives_a_reader_that_leaves(shell):
    # -S: no package that is installed can be imported
    code, out, err = shell.finish("--list", "yaras", "figure", "7", python=["-S"])
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["config", "collapse_depth"]
    process = shell.start("--list")
    process.stdout.close()
    process.stdout = None
    _, err = communicate(process)
    assert (process.returncode, err) == (0, "")


def test_an_error_of_ours_is_70(tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        msg = "the roof is on fire"
        raise RuntimeError(msg)

    monkeypatch.setattr("experiments.runner.run.run", broken)
    assert main([PARSIMONY, f"--workdir={tmp_path / 'run'}"]) == 70
    assert "the roof is on fire" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_went_away_ends_no_run(shell, smoke):
    folder, _ = smoke("dln_parsimony")
    process = shell.start(PARSIMONY, f"--workdir={folder}")
    process.stdout.close()
    process.stdout = None
    _, err = communicate(process)
    assert (process.returncode, err) == (0, "")


@pytest.mark.slow
def test_a_warning_of_ours_is_a_line_without_a_place_in_the_code(shell, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = shell.finish(PARSIMONY, f"--workdir={tmp_path / 'file'}", "--config.net.width=40")
    reported, *refused = err.splitlines()
    assert reported == "warning: net.width = 40 is not for variants with a value of their own: digits_L3 61"
    assert (code, len(refused)) == (2, 1)


def test_a_run_can_be_started_in_another_thread(tmp_path):
    with ThreadPoolExecutor() as pool:
        assert pool.submit(main, [PARSIMONY, f"--workdir={tmp_path / 'run'}", "--config.net.deph=3"]).result() == 2


@pytest.mark.slow
def test_help_comes_without_jax_and_matplotlib(shell):
    code, out, err = shell.finish("--help", python=["-X", "importtime"])
    assert code == 0
    for word in ("usage: python -m experiments.main", "--config", "--workdir", "--strict", "--replot", "75 stopped"):
        assert word in out
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in err.splitlines()}
    assert "argparse" in imported
    assert not imported & {"jax", "jaxlib", "matplotlib", "ml_collections", "numpy", "xarray"}


@pytest.mark.slow
def test_a_process_says_the_same_and_ends_with_2(shell, tmp_path):
    workdir = tmp_path / "run"
    words = ["--config.net.deph=3", "--config.opt.num_steps=0"]
    code, out, err = shell.finish(PARSIMONY, f"--workdir={workdir}", *words)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"net\.deph = 3: .+\nvariants .+: opt\.num_steps = 0: .+\n", err)
    assert not workdir.exists()
