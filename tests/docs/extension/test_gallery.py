"""The links of the gallery's cards have names, and pages of examples that are no more are dropped."""

from types import SimpleNamespace

from extension.gallery import forget, named
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
