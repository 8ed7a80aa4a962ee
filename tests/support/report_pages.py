"""Reports taken apart by Python's own parser, and pictures for made-up run folders."""

import base64
import json
import zlib
from html.parser import HTMLParser
from typing import NamedTuple

from PIL import Image

VOID = {"meta", "link", "img", "br", "input", "circle", "rect", "path"}
SIZE = (40, 30)


def with_pictures(folder, names=("loss", "layers_plain")):
    """The folder of a run with pictures of two colours."""
    (folder / "figures").mkdir(exist_ok=True)
    for shade, name in enumerate(names):
        picture = Image.new("P", SIZE, 0)
        picture.putpalette([200, 40 * shade, 90, 0, 0, 0])
        picture.save(folder / "figures" / f"{name}.png")
    return folder


class Element(NamedTuple):
    """A tag with its attributes, the tags that it lies in, and its text, which is a list that grows."""

    tag: str
    attributes: dict
    inside: tuple
    text: list

    @property
    def said(self):
        """The text of the element and of those within it, in one line."""
        return " ".join("".join(self.text).split())


class Page(HTMLParser):
    """All elements of a page in their order; tags that close nothing are faults."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.faults, self._open = [], [], []
        self.feed(text)
        self.close()
        self.faults += [f"<{element.tag}> is not closed" for element in self._open]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), tuple(self._open), [])
        self.elements.append(element)
        self.faults += ["an attribute is given twice"] if len(dict(attrs)) < len(attrs) else []
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(Element(tag, dict(attrs), tuple(self._open), []))

    def handle_endtag(self, tag):
        if not self._open or self._open[-1].tag != tag:
            self.faults.append(f"</{tag}> closes nothing")
        else:
            self._open.pop()

    def handle_data(self, data):
        for element in self._open:
            element.text.append(data)

    def all(self, tag=None, **attributes):
        """The elements of a tag with these attributes; a value of None asks for the attribute alone."""
        wanted = {name.strip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.elements
            if tag in (None, element.tag)
            and all(
                name in element.attributes and value in (None, element.attributes[name])
                for name, value in wanted.items()
            )
        ]

    def within(self, outer, tag=None, **attributes):
        """The same of those that lie within an element."""
        return [element for element in self.all(tag, **attributes) if any(one is outer for one in element.inside)]

    def curves(self):
        """What the scripts of the curves hold, unpacked."""
        texts = [element.said for element in self.all("script", type="application/octet-stream")]
        return [json.loads(zlib.decompress(base64.b64decode(text))) for text in texts]
