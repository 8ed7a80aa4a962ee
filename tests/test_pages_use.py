"""The pages for use and for running: their code runs, their quotes are in the examples, and what they name exists."""

import re
import subprocess
import sys

import pytest
from source_tree import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*(DOCS / "use").glob("*.md"), *(DOCS / "run").glob("*.md"), *(DOCS / "explain").glob("*.md")])
FENCED = re.compile(r"^(`{3,})(\{?[\w-]*\}?)([^\n]*)\n(.*?)^\1\s*$", re.DOTALL | re.MULTILINE)


def blocks(page, kind):
    """The blocks of a page with this word behind the fence: the rest of that line, and the content."""
    return [(found[3].strip(), found[4]) for found in FENCED.finditer(page.read_text()) if found[2] == kind]


def name_of(page):
    return str(page.relative_to(DOCS))


PYTHON = [(name_of(page), number, code) for page in PAGES for number, (_, code) in enumerate(blocks(page, "python"))]
# One process for each page keeps the settings of JAX apart, and the number of starts small.
WITH_CODE = sorted({page for page, *_ in PYTHON})
QUOTES = [(page, *quote) for page in PAGES for quote in blocks(page, "{literalinclude}")]
RUNNER = """
import sys, runpy
for file in sys.argv[1:]:
    try:
        runpy.run_path(file)
    except BaseException:
        print("in", file, file=sys.stderr)
        raise
"""


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """Each block alone, in the folder of the checkout; blocks that change JAX's settings come in a second process."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    groups = {True: [], False: []}
    for _, number, code in [each for each in PYTHON if each[0] == page]:
        file = tmp_path / f"block_{number}.py"
        file.write_text(code)
        groups["jax.config.update" in code].append(str(file))
    for files in filter(None, groups.values()):
        command = [sys.executable, "-c", RUNNER, *files]
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert child.returncode == 0, child.stderr


def test_pages_have_code_of_which_all_can_be_parsed():
    assert len(PYTHON) >= 12
    for page, number, code in PYTHON:
        compile(code, f"{page}, block {number}", "exec")


@pytest.mark.parametrize(("page", "file", "options"), QUOTES, ids=lambda value: getattr(value, "name", None))
def test_quotes_are_in_the_examples(page, file, options):
    """The marks of a quote occur in this order, so that it has lines."""
    quoted = (page.parent / file).resolve()
    assert quoted.parent == ROOT / "examples"
    lines = quoted.read_text().splitlines()
    marks = dict(re.findall(r':([\w-]+): "?([^"\n]+)"?', options))
    assert marks.pop("language") == "python"
    assert set(marks) in ({"start-at", "end-at"}, {"start-at", "end-before"})
    start = next(i for i, line in enumerate(lines) if marks["start-at"] in line)
    end = marks.get("end-at") or marks["end-before"]
    assert any(end in line for line in lines[start + ("end-before" in marks) :])


def links(page):
    text = FENCED.sub("", page.read_text())
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        if "gallery/" in path:
            assert (ROOT / "examples" / f"{path.rpartition('/')[2]}.py").exists(), target
            continue
        linked = (page.parent / path).resolve() if path else page
        # Pages of the papers, and of words, are made elsewhere.
        assert linked.exists() or linked.parent.name in ("papers", "explain", "docs"), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(page):
    heads = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_and_configs_that_are_named_exist(page):
    text = page.read_text()
    for path in re.findall(r"\{source\}`([^`]+)`", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"\{config\}`(\w+)`", text) + re.findall(r"configs/([a-z]\w+)\.py", text):
        assert (ROOT / "configs" / f"{name}.py").exists(), name


def options_of(module):
    """The options of a command, from its parser."""
    if module == "experiments.main":
        from experiments.runner.command import command_line
    else:
        command_line = __import__(module, fromlist=["command_line"]).command_line
    return {option for action in command_line()._actions for option in action.option_strings}


def commands():
    found = []
    for page in PAGES:
        text = re.sub(r"(\\\n|\n {10,})", " ", page.read_text())
        for line in re.findall(r"python -m (experiments\.(?:main|launch|merge|export|report)\b[^\n`]*)", text):
            module, _, rest = line.partition(" ")
            found += [(name_of(page), module, rest.partition("#")[0])]
    return found


def test_options_of_commands_exist():
    given = commands()
    assert len(given) > 25
    for page, module, rest in given:
        for option in re.findall(r"(?<![\w=-])(--?[a-z][\w-]*)", rest):
            assert option in options_of(module) or option == "--config", (page, module, option)


def test_every_page_of_use_says_what_one_has_and_gets():
    for page in (DOCS / "use").glob("*.md"):
        if page.stem not in ("index", "networks", "pytorch"):
            assert "**You have**" in page.read_text(), page
            assert "**You get**" in page.read_text(), page
