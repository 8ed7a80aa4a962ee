"""What is published is found by name, and a name that does not exist is a line with the nearest one that does."""

import json
import shutil

import pytest
from source_tree import ROOT

from experiments import published
from experiments.papers import PAPERS
from experiments.published import benchmark_value, claims, configs, in_prose, measured, picture, pictures
from experiments.runner.claims import failing
from experiments.runner.store import InputError

MOMENTUM = json.loads((ROOT / "figures" / "dln_momentum" / "claims.json").read_text())["claims"]

# A folder with the table of version 0.1, whose ids are not unique.
FIRST_VERSION = "fashion_mnist_low_rank_once"


def test_every_folder_has_its_config_and_profile():
    found = {place.name: (place.config, place.profile) for place in published.folders()}
    assert set(found) == {path.name for path in (ROOT / "figures").iterdir() if path.is_dir()}
    assert found["dln_momentum"] == ("dln_momentum", "cpu")
    assert found["fashion_mnist_low_rank_once"] == ("fashion_mnist_low_rank", "once")
    assert found["mlp_deep_paper"] == ("mlp_deep", "paper")
    assert published.names() == list(found)


def test_an_id_without_brackets_names_all_its_rows():
    ids = [claim["id"] for claim in MOMENTUM]
    assert [row.id for row in claims("dln_momentum")] == ids
    assert [row.id for row in claims("dln_momentum", ["T1.value"])] == [id for id in ids if id.startswith("T1.value[")]
    assert [row.id for row in claims("dln_momentum", ids[1:2])] == ids[1:2]
    assert [row.id for row in claims("dln_momentum", ids[:0:-1])] == ids[1:]
    assert [row.id for row in claims(FIRST_VERSION, ["F6"])] == [f"F6[{place}]" for place in range(1, 11)]
    assert failing(claims("vgg16_cifar10"))


def test_a_number_is_that_of_the_table():
    first = MOMENTUM[0]
    assert measured("dln_momentum", first["id"]) == f"{first['measured']:.3g}"
    assert measured("dln_momentum", first["id"], "bound") == f"{first['bound']:g}"
    assert measured("dln_momentum", first["id"], "members") == str(first["members"])
    assert measured("dln_momentum", first["id"], "spread") == ", ".join(f"{value:.3g}" for value in first["spread"])
    assert measured(FIRST_VERSION, "F6[3]") == "0.777"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (6.0, "6"),
        (0.01234, "0.0123"),
        (76.53, "76.5"),
        (19613.4, "19,600"),
        (19613.0, "19,613"),
        (8.104e-15, "8.1e-15"),
        (-0.0419, "-0.0419"),
        (2.5e6, "2.5e+06"),
        (1e6, "1e+06"),
        (999999.6, "1e+06"),
        (999999.0, "999,999"),
        (0.99951, "0.9995"),
        (-0.99996, "-0.99996"),
        (1.0004, "1.0004"),
        (0.9949, "0.995"),
        (1.0, "1"),
        (float("inf"), "inf"),
    ],
)
def test_a_number_in_prose_has_three_digits(value, text):
    assert in_prose(value) == text


@pytest.fixture
def two(tmp_path):
    """A checkout of two configs, of which one published its cpu profile."""
    (tmp_path / "configs").mkdir()
    for name in ("dln_momentum", "mlp_deep"):
        shutil.copy(ROOT / "configs" / f"{name}.py", tmp_path / "configs")
    shutil.copytree(ROOT / "figures" / "dln_momentum", tmp_path / "figures" / "dln_momentum")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("dln_momentum_old", "configs/dln_momentum.py has no profile old (it has smoke, cpu, paper)"),
        ("dln_muon", "there is no config of this name; did you mean dln_momentum?"),
        ("dln_momentum_papr", "configs/dln_momentum.py has no profile papr (it has smoke, cpu, paper)"),
        ("mlp_deeep", "there is no config of this name; did you mean mlp_deep?"),
    ],
)
def test_a_folder_of_no_profile_is_refused_by_name(two, name, why):
    shutil.copytree(two / "figures" / "dln_momentum", two / "figures" / name)
    with pytest.raises(InputError) as refusal:
        published.folders(two)
    remedy = "remove the folder, or rename it to CONFIG or CONFIG_PROFILE"
    assert refusal.value.problems == [f"figures/{name}: {why}; {remedy}"]


def test_smoke_profiles_and_what_is_hidden_are_not_published(two):
    for name in ("dln_momentum_smoke", "dln_momentum_paper", ".git"):
        shutil.copytree(two / "figures" / "dln_momentum", two / "figures" / name)
    assert published.names(two) == ["dln_momentum", "dln_momentum_paper"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"title": "A', "Unterminated string"),
        ("[]", "it is no page with title, introduction, machine and tables"),
        ('{"title": "", "introduction": "", "machine": "", "tables": 3}', "a table has no columns"),
        (
            '{"title": "", "introduction": "", "machine": "", "tables": [{"columns": ["a"], "rows": [[]]}]}',
            "a row has not a cell for each column",
        ),
    ],
)
def test_a_damaged_benchmark_is_a_line_that_says_what_to_do(tmp_path, text, why):
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "tracker.json").write_text(text)
    with pytest.raises(InputError) as refusal:
        benchmark_value("tracker", "loss", root=tmp_path)
    (line,) = refusal.value.problems
    assert line.startswith(f"benchmarks/results/tracker.json: is damaged ({why}")
    assert line.endswith("; git checkout restores it, and python -m benchmarks.tracker measures it anew")


def test_a_picture_has_its_file_caption_and_text():
    for name in published.names():
        for stem in pictures(name):
            found = picture(name, stem)
            assert found.file == ROOT / "figures" / name / f"{stem}.png"
            assert found.file.exists()
            assert found.caption.startswith(found.alt)
    assert pictures("dln_momentum_paper") == []


def test_the_configs_of_a_paper_are_in_the_order_of_its_items():
    found = configs("parsimony")
    assert [entry.name for entry in found][:2] == ["dln_parsimony", "dln_fashion_mnist"]
    assert {entry.paper for entry in found} == {"Yaras et al. 2023"}
    (own,) = configs("parsimony", ["dln_momentum"])
    assert own.verdicts == {"holds": len(MOMENTUM)}
    assert (own.published.name, own.thumbnail.name, own.figure) == (
        "dln_momentum",
        "deviations",
        "Figure 9 and eq. (16)",
    )
    assert {entry.name for entry in configs("deep_lora", ["deep_lora*"])} == {"deep_lora", "deep_lora_digits"}
    assert sum(len(configs(paper)) for paper in PAPERS) == len(list((ROOT / "configs").glob("[!._]*.py")))


def test_a_config_that_published_nothing_has_no_counts(tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "figures" / "mlp_deep_paper", tmp_path / "figures" / "mlp_deep_paper")
    (own,) = configs("smooth_mlp", ["mlp_theorem"], tmp_path)
    assert (own.published, own.thumbnail, dict(own.verdicts)) == (None, None, {})
    (own,) = configs("smooth_mlp", ["mlp_deep"], tmp_path)
    assert (own.published.profile, own.thumbnail) == ("paper", None)


def test_a_cell_of_a_benchmark_is_as_its_table_shows_it():
    page = (ROOT / "benchmarks" / "results" / "tracker.md").read_text()
    assert f"| loss after training | {benchmark_value('tracker', 'loss after training')} |" in page
    assert benchmark_value("wall_clock", "1e-10", "d x d: step") == "19461"  # a row that a number names
    cell = benchmark_value("equivariance", "muon", "small network")
    assert f" {cell} |" in next(
        line
        for line in (ROOT / "benchmarks" / "results" / "equivariance.md").read_text().splitlines()
        if line.startswith("| muon |")
    )
    for name in published.benchmarks():
        assert published.benchmark(name)["tables"]


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (
            lambda: claims("dln_momentm"),
            "there is no published folder dln_momentm; did you mean dln_momentum?",
        ),
        (
            lambda: claims("dln_momentum", ["T1.valu"]),
            "has no claim T1.valu; did you mean T1.value?",
        ),
        (lambda: measured("dln_parsimony", "T1.count"), "figures/dln_parsimony: T1.count names 3 claims; give one: "),
        (lambda: measured("dln_momentum", MOMENTUM[0]["id"], "bond"), "there is no bond; did you mean bound?"),
        (lambda: measured(FIRST_VERSION, "F6[3]", "bound"), "the claim F6[3] (not_judged) has no bound"),
        (lambda: picture("dln_momentum", "deviation"), "there is no picture deviation; did you mean deviations?"),
        (lambda: configs("parsimny"), "there is no paper parsimny; did you mean parsimony?"),
        (lambda: configs("parsimony", ["dln_momentm"]), "is named dln_momentm; did you mean dln_momentum?"),
        (lambda: benchmark_value("trackr", "x"), "there is no benchmark trackr; did you mean tracker?"),
        (
            lambda: benchmark_value("wall_clock", "1e-11"),
            "benchmarks/results/wall_clock: has no row '1e-11'; did you mean 1e-10?",
        ),
        (
            lambda: benchmark_value("tracker", "loss after"),
            "'loss after'; did you mean loss after training?",
        ),
        (lambda: benchmark_value("tracker", "loss after training", "measurd"), "did you mean measured?"),
        (lambda: benchmark_value("small_subspaces", "full"), "has 9 rows 'full'"),
    ],
)
def test_a_name_that_does_not_exist_is_a_line(ask, line):
    with pytest.raises(InputError) as refusal:
        ask()
    (found,) = refusal.value.problems
    assert line in found
