"""The links of the gallery's cards have names, and pages of examples that are no more are dropped."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
from extension.gallery import figures_apart, forget, named
from matplotlib.figure import Figure
from report_pages import Page

CARD = """<div class="sphx-glr-thumbcontainer" tooltip="Of {0}."><img alt="" src="{0}.png" />
<p><a class="reference internal" href="{0}.html"><span class="doc">{1}</span></a></p>
  <div class="sphx-glr-thumbnail-title">{1}</div>
</div>"""


def test_every_card_has_a_link_with_its_title_as_name():
    text = '<a class="reference internal" href="x.html"><span class="doc">Other</span></a>'
    page = Page(named(text + CARD.format("one", "Watch") + CARD.format("two", "Adapt &amp; merge")))
    assert [link.attributes.get("aria-label") for link in page.all("a")] == [None, "Watch", "Adapt & merge"]
    assert [link.said for link in page.all("a")] == ["Other", "Watch", "Adapt & merge"]


def test_only_pages_without_an_example_are_dropped(tmp_path):
    for name in ("pages/gallery/index.rst", "pages/gallery/old.rst", "pages/gallery/new.rst", "examples/new.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    config = SimpleNamespace(sphinx_gallery_conf={"gallery_dirs": "gallery", "examples_dirs": "../examples"})
    forget(SimpleNamespace(srcdir=tmp_path / "pages"), config)
    assert {file.name for file in (tmp_path / "pages" / "gallery").iterdir()} == {"index.rst", "new.rst"}


def test_a_figure_that_pyplot_does_not_know_is_saved_once(tmp_path):
    known = plt.figure()
    places = iter(str(tmp_path / f"{i}.png") for i in range(9))
    variables = {"example_globals": {"A": Figure(), "B": known, "C": 3}, "image_path_iterator": places}
    assert "0.png" in figures_apart(None, variables, {"src_dir": str(tmp_path)})
    assert figures_apart(None, variables, {"src_dir": str(tmp_path)}) == ""
    assert [file.name for file in tmp_path.iterdir()] == ["0.png"]
    plt.close(known)
