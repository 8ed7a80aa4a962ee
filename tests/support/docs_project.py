"""A made-up checkout with a table, a picture and a benchmark, and pages about it, built as docs/ is built."""

import io
import json
import os
import runpy
import shutil
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from report_pages import Page
from source_tree import ROOT
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from experiments.runner import claims

CONFIG = "dln_parsimony"
SOURCE = {"paper": "Yaras et al. 2023", "figure": "Theorem 1", "kind": "law", "relation": "<", "bound": 1e-12}
ROWS = (
    claims.judge("T1.value[case1]", **SOURCE, statement="||W|| equals |rho|_*", values=[1e-15, 8.104e-15]),
    claims.judge("T1.value[case 2, f32]", **SOURCE, statement="the same", values=[0.5], diverged=0),
    claims.judge("T1.count", **(SOURCE | {"relation": "==", "bound": 6}), statement="moves", values=[6] * 1200),
    claims.unjudged(
        "not_run",
        "T1.late",
        kind="law",
        paper="Yaras et al. 2023",
        figure="Theorem 1",
        statement="later",
        reason="this profile is too short for it",
    ),
)
ROWS_MEASURED = [["loss after training", 0.015446], ["by", "hand"]]
TABLES = [{"title": None, "note": "Each run alone.", "columns": ["what", "measured"], "rows": ROWS_MEASURED}]
BENCHMARK = {"title": "What it costs.", "introduction": "Of a ``scan``:\n\n- one: 1\n- two: 2", "machine": "1 x cpu"}
SUMMARY = {
    "runs": [
        {"run": run, "members": 3, "diverged": 0, "columns": {"final loss": loss, "steps": {"numbers": 0, "of": 3}}}
        for run, loss in (
            ("case1", {"median": 0.25, "min": 0.125, "max": 0.5, "numbers": 3, "of": 3}),
            ("case2", {"median": 1e-9, "min": 1e-9, "max": 1e-9, "numbers": 2, "of": 3}),
        )
    ],
    "comparisons": {"final loss, case1 over case2": {"median": 2.0, "min": 1.0, "max": 4.0, "numbers": 3, "of": 3}},
}
# With another root seed the first row fails; the others have no pair there, or agree.
OTHER_SEED = {
    "title": "Other seeds.",
    "introduction": "",
    "machine": None,
    "tables": [],
    "about": {"seed": 1},
    "claims": [
        {"config": CONFIG, "id": id, "relation": "<", "measured": [8.104e-15, 3.21e-9], "bound": [1e-12, 1e-12]}
        | {"status": ["holds", "fails"], "part": part}
        for id, part in (("T1.value[case1]", "differs"), ("T1.count", "edge"))
    ],
}


class Built(NamedTuple):
    """The folder of the pages, and what Sphinx warned of."""

    folder: Path
    warnings: str

    def page(self, name="index"):
        return Page((self.folder / f"{name}.html").read_text(encoding="utf-8"))


def checkout(folder):
    """A checkout of one config, its published run and one benchmark."""
    (folder / "configs").mkdir(parents=True)
    shutil.copy(ROOT / "configs" / f"{CONFIG}.py", folder / "configs")
    published = shutil.copytree(
        ROOT / "figures" / CONFIG, folder / "figures" / CONFIG, ignore=shutil.ignore_patterns("*.png", "*.md")
    )
    about = json.loads((published / "claims.json").read_text())["run"]
    (published / "claims.json").write_text(claims.to_json(ROWS, about))
    (published / "summary.json").write_text(json.dumps(SUMMARY))
    Image.new("P", (40, 30), 0).save(published / "layers_case1_L3.png")
    results = folder / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "tracker.json").write_text(json.dumps(BENCHMARK | {"tables": TABLES}))
    (results / "holdout.json").write_text(json.dumps(OTHER_SEED))
    return folder


def built(folder, pages, gallery=None, **changes):
    """Pages by name, built with the settings of docs/conf.py; the API's modules and the gallery's settings if given."""
    source = folder / "pages"
    for name, text in pages.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    settings = {
        "extensions": [each for each in conf["extensions"] if gallery or "gallery" not in each],
        "lawlib_modules": [],
        "lawlib_root": str(folder),
    }
    if gallery:
        settings["sphinx_gallery_conf"] = conf["sphinx_gallery_conf"] | gallery
    said = io.StringIO()
    with patch_docutils(str(source)), docutils_namespace():
        app = Sphinx(
            source,
            ROOT / "docs",
            folder / "html",
            folder / "doctrees",
            "html",
            confoverrides=settings | changes,
            status=None,
            warning=said,
            freshenv=True,
        )
        app.build()
    return Built(folder / "html", said.getvalue())


SMALL = """# Title

```{{toctree}}
papers/parsimony
benchmarks
contributing
{more}
```

The first page, with a wide formula $a + b$ and code:

```python
some_function(with_a_name, that_is_long=1, and_more="of it", which_is_wider_than_a_phone_is=True, or_than_a_page=False)
```
"""
PAPER = """# A paper

```{claims} dln_parsimony
```

```{exhibit} dln_parsimony layers_case1_L3
```

```{configs} parsimony
```

$$
W_l(t) = U_l \\begin{pmatrix} \\tilde W_l(t) & 0 \\\\ 0 & \\rho(t) I \\end{pmatrix} V_l^\\top, \\qquad V_{l+1} = U_l
$$

{claim}`dln_parsimony T1.count`
"""


def small(folder):
    """A few pages of every kind: a table, a formula, cards, a module of the API, the gallery with one example."""
    checkout(folder)
    (folder / "lawlib").symlink_to(ROOT / "lawlib")
    (folder / "examples").mkdir()
    (folder / "examples" / "GALLERY_HEADER.rst").write_text("Gallery\n=======\n\nExamples.\n")
    (folder / "examples" / "say_so.py").write_text('"""Say so\n======\n\nAn example.\n"""\n\nprint("so")\nobject()\n')
    pages = {
        "index.md": SMALL.format(more="gallery/index\napi/index"),
        "papers/parsimony.md": PAPER,
        "benchmarks.md": "# Measurements\n\n```{benchmark} tracker\n```\n",
        "contributing.md": (ROOT / "docs" / "contributing.md").read_text().replace("../", f"{ROOT}/"),
    }
    gallery = {"examples_dirs": str(folder / "examples"), "parallel": False}
    made = built(
        folder,
        pages,
        gallery=gallery,
        lawlib_modules=["lawlib.theory.parsimony", "lawlib.types"],
    )
    return made.folder


def docs_folder(factory):
    """The pages that LAWLIB_DOCS names, or a few that are built."""
    named = os.environ.get("LAWLIB_DOCS")
    return Path(named).resolve() if named else small(factory.mktemp("docs"))
