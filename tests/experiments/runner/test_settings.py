"""Configs: every bad input has its line, all lines come at once, and expansion keeps what was written."""

import json
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liveness import finish
from ml_collections import config_dict

from experiments.runner.checks import Checks, collect
from experiments.runner.schema import check_fields, choice, flag, integer, number, values
from experiments.runner.settings import ConfigError, expand, hyperparameters, load, to_plain

CONFIG = """
from ml_collections import config_dict

def get_config(profile="cpu"):
    steps = {"smoke": 5, "cpu": 500, "paper": 5000}[profile]
    return config_dict.create(
        experiment="collapse", name="", seed=0, num_seeds=3, precision="float64",
        net=dict(depth=3, width=30, scale=1.0, bias=False, sizes=(4, 5)),
        opt=dict(step_size=0.1, weight_decay=0.0, momentum=0.0, num_steps=steps),
        data=dict(source="low_rank", rank=3, scale=1.0),
        observe=dict(num_times=5, spacing="even"),
        sweep=dict(opt=dict(weight_decay=(0.0, 0.1))),
        variants=({"net.depth": 2}, {"net.depth": 3}),
        run=dict(chunk=0, batch=0, segment=0, checkpoint_seconds=60.0),
    )
"""


FIELDS = {
    "net.depth": replace(integer("layers", at_least=2), sweepable=True),
    "net.width": integer("width"),
    "net.scale": number("scale of the weights", sweepable=True),
    "net.bias": flag("biases"),
    "net.sizes": values("sizes", items="integers"),
    "opt.step_size": number("step size", sweepable=True, above=0.0),
    "opt.weight_decay": number("weight decay", sweepable=True, at_least=0.0, below=1.0),
    "opt.momentum": number("momentum"),
    "data.source": choice("where data come from", "low_rank", "digits"),
    "data.rank": integer("rank"),
    "data.scale": number("scale of the data", sweepable=True),
}


def validate(checks):
    rank = checks.config.data.rank
    check_fields(checks, FIELDS)
    checks.require("net.width", checks.config.net.width > 2 * rank, f"must exceed 2 * data.rank = {2 * rank}")


@pytest.fixture
def write(tmp_path):
    def write(text=CONFIG, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "law.py"
        path.write_text(text)
        return str(path)

    return write


def problems_of(spec, *overrides):
    """The reported problems: those of loading or, if it loads, those of checking."""
    try:
        return collect(load(spec, overrides), validate)
    except ConfigError as error:
        return error.problems


def test_a_good_config_has_no_problems_and_is_locked(write):
    config = load(write())
    assert collect(config, validate) == []
    assert config.is_locked
    assert config.opt.num_steps == 500
    with pytest.raises(AttributeError):
        config.opt.setp_size = 1.0


@pytest.mark.parametrize(("profile", "steps"), [("smoke", 5), ("cpu", 500), ("paper", 5000)])
def test_profiles(write, profile, steps):
    assert load(f"{write()}:{profile}").opt.num_steps == steps


@pytest.mark.parametrize(
    ("text", "suffix", "line"),
    [
        (CONFIG, "x", "there is no file {path}x; did you mean {path}?"),
        (CONFIG, ":huge", "unknown profile 'huge'; the profiles are smoke, cpu, paper"),
        ("x = 1\n", "", "{path} has no function get_config(profile)"),
        ("x = 1\n\ny = 1 / 0\n", "", "line 3 raised ZeroDivisionError: division by zero"),
        ("x = 1\n\ny = 1 / 0\n", ":huge", "line 3 raised ZeroDivisionError: division by zero"),
        ("\ndef get_config(profile)\n", "", "line 2 raised SyntaxError: expected ':' (law.py, line 2)"),
        (
            "def get_config(profile):\n    return undefined\n",
            "",
            "line 2 raised NameError: name 'undefined' ",
        ),
        ("def get_config():\n    return 1\n", "", "raised TypeError: get_config() takes 0 positional"),
        (
            "def get_config(profile):\n    return {}\n",
            "",
            "get_config returned dict, must return an ml_collections ConfigDict",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(write, text, suffix, line):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load(path + suffix)
    (problem,) = caught.value.problems
    assert problem.startswith(f"--config={path}{suffix}: " + line.format(path=path))
    assert "\n" not in problem


def test_a_file_changed_at_the_same_size_is_read_again(write):
    assert load(write()).opt.step_size == 0.1
    assert load(write(CONFIG, ("step_size=0.1", "step_size=0.2"))).opt.step_size == 0.2


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--config.opt.step_size=0.2"], "opt.step_size", 0.2),
        (["--config.opt.step_size", "0.2"], "opt.step_size", 0.2),
        (["--config.opt.step_size", "-0.2"], "opt.step_size", -0.2),
        (["--config.opt.step_size=1e-3"], "opt.step_size", 1e-3),
        (["--config.opt.step_size=1"], "opt.step_size", 1.0),
        (["--config.opt.step_size=1", "--config.opt.step_size=2"], "opt.step_size", 2.0),
        (["--config.net.bias=True"], "net.bias", True),
        (["--config.data.source=digits"], "data.source", "digits"),
        (["--config.data.source='3'"], "data.source", "3"),
        (["--config.data.source=a=b"], "data.source", "a=b"),
        (["--config.net.sizes=6,7"], "net.sizes", (6, 7)),
        (["--config.net.sizes=[6]"], "net.sizes", (6,)),
        (["--config.net.sizes=6"], "net.sizes", (6,)),
        (["--config.sweep.opt.weight_decay=(0.0,0.5)"], "sweep.opt.weight_decay", (0.0, 0.5)),
        (["--config.sweep.opt.weight_decay=0,1e-2"], "sweep.opt.weight_decay", (0.0, 0.01)),
        (["--config.sweep.opt.weight_decay", "0.3"], "sweep.opt.weight_decay", (0.3,)),
        (["--config.sweep.net.scale=0.1,1.0"], "sweep.net.scale", (0.1, 1.0)),
        (["--config.variants=({'net.width': 8},)"], "variants", ({"net.width": 8},)),
        (["--config.variants={}"], "variants", ({},)),
    ],
)
def test_overrides_take_the_type_of_the_default(write, words, field, value):
    config = load(write(), words)
    for name in field.split("."):
        config = config[name]
    assert config == value
    assert type(config) is type(value)
    items = config if isinstance(config, tuple) else ()
    assert [type(item) for item in items] == [type(item) for item in value] if items else True


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("--config.opt.stepsize=0.2", "opt.stepsize = 0.2: unknown field; did you mean opt.step_size?"),
        ("--config.step_size=0.2", "step_size = 0.2: unknown field; did you mean opt.step_size?"),
        ("--config.zzz=0.2", "zzz = 0.2: unknown field"),
        ("--config.opt.num_steps=2.5", "opt.num_steps = 2.5: must be an integer"),
        ("--config.opt.num_steps=True", "opt.num_steps = True: must be an integer"),
        ("--config.opt.step_size=fast", "opt.step_size = 'fast': must be a finite number"),
        ("--config.opt.step_size=nan", "opt.step_size = 'nan': must be a finite number"),
        ("--config.opt.step_size=1e999", "opt.step_size = inf: must be a finite number"),
        ("--config.opt.step_size=True", "opt.step_size = True: must be a finite number"),
        ("--config.opt.step_size=", "opt.step_size = '': must be a finite number"),
        ("--config.opt.step_size=None", "opt.step_size = None: must be a finite number"),
        ("--config.net.bias=1", "net.bias = 1: must be True or False"),
        ("--config.data.source=3", "data.source = 3: must be a string"),
        (
            "--config.net.sizes=4,x",
            "net.sizes = '4,x': must be a tuple, and each of its values must be an integer",
        ),
        ("--config.opt=3", "opt = 3: is a group; set one of its fields: opt.momentum, opt.num_steps"),
        (
            "--config.sweep.data.source=a,b",
            "sweep.data.source = 'a,b': only a number of a group can be swept",
        ),
        ("--config.sweep.seed=1,2", "sweep.seed = (1, 2): only a number of a group can be swept"),
        ("--config.sweep.run.chunk=1,2", "sweep.run.chunk = (1, 2): only a number of a group can be swept"),
        ("--config.sweep.net.scal=1.0", "sweep.net.scal = 1.0: unknown field; did you mean sweep.net.scale?"),
        (
            "--config.sweep.net.scale=0.1,x",
            "sweep.net.scale = '0.1,x': must be a tuple, and each of its values must be a finite number",
        ),
        ("opt.step_size=0.2", "opt.step_size=0.2: is not an override; write --config.FIELD=VALUE"),
        ("--config.=0.2", "--config.=0.2: is not an override; write --config.FIELD=VALUE"),
        ("--config.opt..x=1", "--config.opt..x=1: is not an override; write --config.FIELD=VALUE"),
        ("--config.seed", "--config.seed: has no value; write --config.seed=VALUE"),
        (
            "--config.opt.weight_decay=0.2",
            "opt.weight_decay = 0.2: is swept; set --config.sweep.opt.weight_decay=0.2,",
        ),
        ("--config.name=deep", "name = 'deep': no variant has this name; the variants are depth=2, depth=3"),
        ("--config.opt.step_size=-0.5", "opt.step_size = -0.5: must be a finite number > 0.0"),
        ("--config.net.width=6", "net.width = 6: must exceed 2 * data.rank = 6"),
        ("--config.data.source=digit", "data.source = 'digit': must be one of 'low_rank', 'digits'"),
        (
            "--config.sweep.opt.weight_decay=0.0,1.0",
            "sweep.opt.weight_decay = 1.0: must be a finite number >= 0.0 and < 1.0",
        ),
        (
            "--config.sweep.opt.weight_decay=()",
            "sweep.opt.weight_decay = (): must be a tuple of one value or more",
        ),
        (
            "--config.sweep.opt.weight_decay=0,0.0",
            "sweep.opt.weight_decay = (0.0, 0.0): must not list a value twice",
        ),
        ("--config.sweep.opt.momentum=0.5", "sweep.opt.momentum = (0.5,): cannot be swept; use variants"),
        ("--config.sweep.net.depth=2,3", "sweep.net.depth = (2, 3): a variant also sets it"),
        ("--config.seed=-1", "seed = -1: must be an integer >= 0 and <= 4294967295"),
        ("--config.seed=4294967296", "seed = 4294967296: must be an integer >= 0"),
        (f"--config.seed=1{'0' * 400}", f"seed = 1{'0' * 400}: must be an integer >= 0"),
        ("--config.num_seeds=0", "num_seeds = 0: must be an integer >= 1"),
        ("--config.precision=float16", "precision = 'float16': must be one of 'float64', 'float32'"),
        ("--config.run.chunk=-1", "run.chunk = -1: must be an integer >= 0"),
        (
            "--config.run.checkpoint_seconds=-1",
            "run.checkpoint_seconds = -1.0: must be a finite number >= 0.0",
        ),
        (
            "--config.experiment=colapse",
            "experiment = 'colapse': is not a package of experiments/laws; did you mean collapse?",
        ),
        ("--config.experiment=../runner", "experiment = '../runner': is not a package of experiments/laws"),
        ("--config.variants=()", "variants = (): must be a tuple of at least one dict"),
        ("--config.variants=3", "variants[0] = 3: must be a dict of fields"),
        (
            "--config.variants=({'net.dept': 2},)",
            "variants[0]['net.dept'] = 2: unknown field; did you mean net.depth?",
        ),
        ("--config.variants=({}, {'net.depth': 2.5})", "variants[1]['net.depth'] = 2.5: must be an integer"),
        ("--config.variants=({'experiment': 'x'},)", "variants[0]['experiment'] = 'x': cannot be varied"),
        (
            "--config.variants=({'net.depth': 2}, {'net.depth': 2})",
            "variants = ({'net.depth': 2}, {'net.depth': 2}): must",
        ),
        ("--config.variants=({}, {'net.depth': 3})", "variants: must differ, and base and depth=3 are the same run"),
        (
            "--config.variants=({'net.depth': 2}, {'net.depth': 2, 'num_seeds': 9}, {'net.depth': 2, 'run.batch': 1})",
            "variants: must differ, and depth=2 and depth=2,num_seeds=9 and depth=2,batch=1 are the same run, except",
        ),
        (
            "--config.variants=({'opt.weight_decay': 0.1},)",
            "sweep.opt.weight_decay = (0.0, 0.1): a variant also sets it",
        ),
    ],
)
def test_every_bad_word_has_its_line(write, word, line):
    (problem,) = problems_of(write(), word)
    assert problem.startswith(line)
    assert "\n" not in problem


def test_two_hyperparameters_of_one_name_share_no_dimension(write):
    problems = problems_of(write(), "--config.sweep.net.scale=0.1", "--config.sweep.data.scale=0.1")
    assert problems == [
        "sweep.data.scale = (0.1,): would share the dimension name scale with sweep.net.scale"
    ] or problems == ["sweep.net.scale = (0.1,): would share the dimension name scale with sweep.data.scale"]


def test_all_wrong_overrides_are_reported_together(write):
    words = ["--config.a=1", "--config.seed", "x", "--config.opt.momentum", "--config.num_seeds=2.5", "junk"]
    words += ["--config.opt.weight_decay=0.2", "--config.net.depth=4.5"]
    problems = problems_of(write(), *words)
    paths = [problem.replace(":", " ").split()[0] for problem in problems]
    assert sorted(paths) == sorted(
        ["a", "seed", "--config.opt.momentum", "num_seeds", "junk", "opt.weight_decay", "net.depth"]
    )


def test_common_problems_and_the_experiments_own_are_reported_together(write):
    words = [
        "--config.seed=-1",
        "--config.opt.step_size=0",
        "--config.data.source=x",
        "--config.run.batch=-2",
    ]
    words += ["--config.variants=({'net.depth': 1}, {'net.dept': 1}, {'net.depth': 2})"]
    problems = problems_of(write(), *words)
    assert sorted(problem.split(":")[0].split(" =")[0] for problem in problems) == [
        "data.source",
        "opt.step_size",
        "run.batch",
        "seed",
        "variant depth=1",
        "variants[1]['net.dept']",
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("seed=0, ", "", "seed: is missing, must be an integer >= 0 and <= 4294967295"),
        ("num_seeds=3", "num_seeds=3.0", "num_seeds = 3.0: must be an integer >= 1"),
        (
            "width=30",
            "width=30, extra=None",
            "net.extra = None: must be a bool, an integer, a float, a string",
        ),
        ("sizes=(4, 5)", "sizes=[4, 5]", "net.sizes = [4, 5]: must be a bool, an integer, a float, a string"),
        ("step_size=0.1", "step_size=1", "opt.step_size = 1: must be written as a float, 1.0"),
        ("step_size=0.1", "step_size=float('nan')", "opt.step_size = nan: must be a finite number > 0.0"),
        ("step_size=0.1", "step_size=float('inf')", "opt.step_size = inf: must be a finite number > 0.0"),
        ("sweep=dict(opt=dict(weight_decay=(0.0, 0.1)))", "sweep=0.1", "sweep = 0.1: must be a group"),
        ("(0.0, 0.1)", "0.1", "sweep.opt.weight_decay = 0.1: must be a tuple of one value or more"),
        (
            "weight_decay=(0.0, 0.1)",
            "weight_dekay=(0.1,)",
            "sweep.opt.weight_dekay = (0.1,): unknown field; did you mean sweep.opt.weight_decay?",
        ),
        (
            "(0.0, 0.1)",
            "(0.0, float('nan'))",
            "sweep.opt.weight_decay = (0.0, nan): must be a tuple, and each of its",
        ),
    ],
)
def test_a_file_with_a_bad_default_has_its_line(write, old, new, line):
    (problem,) = problems_of(write(CONFIG, (old, new)))
    assert problem.startswith(line)


def test_a_problem_of_some_variants_names_them_and_a_common_one_does_not(write):
    variants = "--config.variants=({'net.depth': 1}, {'net.depth': 2}, {'net.depth': 1, 'data.source': 'digits'})"
    assert problems_of(write(), variants, "--config.net.width=2") == [
        "net.width = 2: must exceed 2 * data.rank = 6",
        "variants depth=1, depth=1,source=digits: net.depth = 1: must be an integer >= 2",
    ]


def test_a_validator_that_trips_over_a_refused_value_is_no_second_problem(write):
    def divides(checks):
        checks.integer("data.rank", at_least=1)
        checks.require("net.width", checks.config.net.width % checks.config.data.rank == 0, "must divide")

    assert collect(load(write(), ["--config.data.rank=0"]), divides) == ["data.rank = 0: must be an integer >= 1"]
    with pytest.raises(RuntimeError):
        collect(load(write()), lambda _: (_ for _ in ()).throw(RuntimeError("ours")))


@given(value=st.floats() | st.integers() | st.booleans(), at_least=st.integers(-5, 5))
def test_number_and_integer_accept_exactly_what_they_say(value, at_least):
    checks = Checks(config_dict.create(net={"x": value}))
    checks.integer("net.x", at_least=at_least)
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    assert (checks.problems == []) == (is_integer and value >= at_least)
    checks.problems.clear()
    checks.number("net.x", above=float(at_least), at_most=10.0)
    assert (checks.problems == []) == (isinstance(value, float) and at_least < value <= 10)


def test_expanded_variants_hold_their_own_fields_and_all_others(write):
    word = "--config.variants=({}, {'net.depth': 5, 'net.scale': 2}, {'data.scale': 0.5, 'data.source': 'a/b'})"
    config = load(write(), [word])
    base, deep, scaled = expand(config)
    assert [variant.name for variant in (base, deep, scaled)] == [
        "base",
        "depth=5,net.scale=2.0",
        "data.scale=0.5,source=a-b",
    ]
    assert (deep.config.net.depth, deep.config.net.scale) == (5, 2.0)
    assert isinstance(deep.config.net.scale, float)
    assert (scaled.config.net.depth, scaled.config.data.source) == (3, "a/b")
    assert config.net.depth == 3
    assert deep.config.is_locked
    ((_, again),) = expand(deep.config)
    assert again == deep.config
    assert base.config.opt == config.opt


def test_a_variant_may_have_a_sweep_of_its_own(write):
    word = "--config.variants=({}, {'sweep.opt.weight_decay': (0.5,)})"
    base, own = expand(load(write(), [word]))
    assert hyperparameters(base.config) == {"opt.weight_decay": (0.0, 0.1)}
    assert hyperparameters(own.config) == {"opt.weight_decay": (0.5,)}


def test_hyperparameters_are_flat_sorted_and_of_their_fields_type(write):
    config = load(write(), ["--config.sweep.opt.step_size=1,2", "--config.sweep.data.rank=1,2"])
    swept = hyperparameters(config)
    assert list(swept.items()) == [
        ("data.rank", (1, 2)),
        ("opt.step_size", (1.0, 2.0)),
        ("opt.weight_decay", (0.0, 0.1)),
    ]
    assert [type(values[0]) for values in swept.values()] == [int, float, float]
    assert Checks(config).values("data.rank") == (1, 2)
    assert Checks(config).values("net.width") == (30,)


def test_plain_config_is_json_and_holds_every_value(write):
    plain = to_plain(load(write()))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["sweep"] == {"opt": {"weight_decay": [0.0, 0.1]}}
    assert plain["variants"] == [{"net.depth": 2}, {"net.depth": 3}]
    assert plain["net"] == {"depth": 3, "width": 30, "scale": 1.0, "bias": False, "sizes": [4, 5]}


def test_settings_and_claims_do_not_import_jax():
    program = "import sys, experiments.runner.checks, experiments.runner.claims; sys.exit('jax' in sys.modules)"
    assert finish([sys.executable, "-c", program]).returncode == 0
