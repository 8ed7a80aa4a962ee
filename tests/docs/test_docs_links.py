"""No link of the documentation leads nowhere, and no page shows what a reader cannot use."""

import html
import sys
from urllib.parse import unquote, urlsplit

import pytest
from docs_project import docs_folder
from report_pages import Page

# Schemes of links to other places, which no test visits.
ELSEWHERE = {"https", "http", "mailto"}
# An object that says nothing of itself, a command that ended, labels that were drawn: values of an example's last line.
REPRESENTATIONS = (" object at 0x", "CompletedProcess(", "[Text(", "\nText(")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages by path, and the folder that they lie in."""
    folder = docs_folder(tmp_path_factory)
    return folder, {file: Page(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.html"))}


def addresses(page):
    return {
        element.attributes[name]
        for tag, name in (("a", "href"), ("link", "href"), ("img", "src"), ("script", "src"))
        for element in page.all(tag)
        if element.attributes.get(name)
    }


def names(page):
    return {element.attributes["id"] for element in page.all(id=None)}


def fault(file, address, pages):
    """Why an address leads nowhere; empty if it leads to a place."""
    parts = urlsplit(address)
    if parts.scheme:
        return "" if parts.scheme in ELSEWHERE and (parts.netloc or parts.path) else "has no host"
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "is no file"
    known = names(pages[target]) if target in pages and parts.fragment else {unquote(parts.fragment)}
    return "" if unquote(parts.fragment) in known or not parts.fragment else "is no place in its page"


def faults(pages):
    folder, found = pages
    return [
        f"{file.relative_to(folder)}: {address} {why}"
        for file, page in found.items()
        for address in sorted(addresses(page))
        if (why := fault(file, address, found))
    ]


def test_every_link_leads_to_a_file_and_a_place(pages):
    assert len(pages[1]) >= 5
    assert not faults(pages)


def test_every_picture_has_a_text_and_every_page_a_title_and_a_language(pages):
    for file, page in pages[1].items():
        assert all("alt" in image.attributes for image in page.all("img")), file
        (title,) = page.all("title")[:1]
        assert title.said
        assert page.all("html", lang="en")


def test_examples_show_what_they_print_and_nothing_of_this_machine(pages):
    folder = pages[0] / "gallery"
    texts = {file.name: html.unescape(file.read_text(encoding="utf-8")) for file in folder.glob("*.html")}
    assert any("sphx-glr-script-out" in text for text in texts.values())
    unwanted = (*REPRESENTATIONS, sys.prefix)
    assert not [(name, value) for name, text in texts.items() for value in unwanted if value in text]


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    text = "<a href='#there'></a><a href='#here' id='here'></a><a href='no.html'></a><a href='https:///x'></a>"
    (tmp_path / "index.html").write_text(f"<html>{text}</html>")
    found = {tmp_path / "index.html": Page(text)}
    assert faults((tmp_path, found)) == [
        "index.html: #there is no place in its page",
        "index.html: no.html is no file",
    ]
