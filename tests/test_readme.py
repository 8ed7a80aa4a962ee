"""README: one page, whose commands and links lead somewhere, and whose examples find what they say."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from liveness import finish, without_settings
from source_tree import ROOT

TEXT = (ROOT / "README.md").read_text()
GENERATED = re.compile(r"<!-- begin (\w+) -->\n(.*?)<!-- end \1 -->", re.DOTALL)
WRITTEN = GENERATED.sub("", TEXT)
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", TEXT, re.MULTILINE))
EXAMPLES = {name: "".join(re.findall(r"```python\n((?:.*\n)*?)```", text)) for name, text in SECTIONS.items()}
EXAMPLES = {name: code for name, code in EXAMPLES.items() if code}
COMMANDS = [line.split("#")[0].split() for line in WRITTEN.splitlines() if line.startswith("    ")]
MOST_LINES, MOST_WORDS, MOST_EXAMPLE_LINES = 140, 900, 20

# What each example found, by another route: numbers are those of its own arrays.
FINDINGS = {
    "Watch a network": """
change = np.asarray(params["first"] - 0.1 * jax.random.normal(jax.random.key(1), (64, 32)))
values = np.linalg.svd(change, compute_uv=False)
assert seen.step.tolist() == [0, 20, 40]
assert np.sum(values[:5] ** 2) / np.sum(values**2) > 0.9
# The records see the weights before the last step.
np.testing.assert_allclose(seen.norm[-1], np.linalg.norm(change), rtol=0.05)
""",
    "Compress a deep linear network": """
from functools import reduce
weights = [np.asarray(W) for W in start]
for _ in range(50):
    residual = reduce(lambda product, W: W @ product, weights) - np.asarray(target)
    left = [reduce(lambda product, W: W @ product, weights[l + 1 :], np.eye(300)) for l in range(3)]
    right = [reduce(lambda product, W: W @ product, weights[:l], np.eye(300)) for l in range(3)]
    slopes = [L.T @ residual @ R.T for L, R in zip(left, right)]
    weights = [(1 - 1e-3 * 0.1) * W - 1e-3 * G for W, G in zip(weights, slopes)]
for found, W in zip(whole, weights):
    np.testing.assert_allclose(found, W, rtol=0, atol=1e-12)
assert sum(W.size for W in small.weights.weights) == 3 * 6 * 6
""",
    "Complete a matrix": """
missed = np.isnan(known)
error = np.linalg.norm((found.left @ found.right.T - matrix)[missed]) / np.linalg.norm(matrix[missed])
assert error < 1e-3 and 0.5 * error < found.held_out_error < 2 * error
""",
}


def test_it_is_one_page():
    """Words count in generated tables too, but not in code; the rules of a table are no words."""
    assert len(TEXT.splitlines()) <= MOST_LINES
    prose = re.sub(r"```.*?```|^    .*?$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    assert sum(bool(re.search(r"\w", word)) for word in prose.split()) <= MOST_WORDS


def test_the_generated_parts_are_marked_once_each():
    assert [name for name, _ in GENERATED.findall(TEXT)] == ["papers", "speed", "missing"]
    assert TEXT.count("<!-- begin ") == TEXT.count("<!-- end ") == 3


def test_every_link_leads_to_a_file_of_the_repository():
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", TEXT) if "://" not in link]
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_picture_has_a_text_for_those_who_do_not_see_it():
    pictures = re.findall(r"!\[(.*?)\]\((figures/[^)]+)\)", TEXT)
    assert pictures
    assert all(len(text) > 40 for text, _ in pictures)


def modules():
    return [command[2] for command in COMMANDS if command[:2] == ["python", "-m"]]


def test_every_command_names_a_module_and_a_target_that_exist():
    targets = [command[1] for command in COMMANDS if command[0] == "make"]
    rules = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert modules()
    assert targets
    assert [name for name in modules() if importlib.util.find_spec(name) is None] == []
    assert set(targets) <= set(rules)


def test_every_config_of_a_command_exists_and_has_its_profile():
    named = re.findall(r"--config=(configs/\w+\.py)(?::(\w+))?", TEXT)
    assert named
    for path, profile in named:
        source = Path(ROOT / path).read_text()
        assert not profile or profile in re.findall(r"\w+", source)


def test_its_examples_are_short_and_each_is_checked():
    assert set(EXAMPLES) == set(FINDINGS)
    assert {name for name, code in EXAMPLES.items() if len(code.splitlines()) > MOST_EXAMPLE_LINES} == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", FINDINGS)
def test_an_example_runs_alone_and_finds_what_it_says(name):
    """In a process of its own, as a user would run it; what it left is then checked."""
    code = f"{EXAMPLES[name]}\nimport numpy as np\n{FINDINGS[name]}"
    child = finish([sys.executable, "-W", "ignore", "-c", code], env=without_settings(), cwd=ROOT)
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip()
