"""The role ``measured``: a published number in running text, of a claim, of a summary or of a benchmark."""

import shlex

from docutils import nodes
from sphinx.application import Sphinx

from experiments import published, summaries
from experiments.runner.store import InputError
from extension.basics import PublishedRole, depends_on, root, words

__all__ = ["MeasuredRole", "setup"]

BENCHMARKS, SUMMARIES = "benchmarks/", "summary/"
FORMS = 'NAME ID [bound, members or spread], benchmarks/NAME "ROW" ["COLUMN"] or summary/NAME "ROW" ["COLUMN"]'


def setup(app: Sphinx) -> None:
    """Register the role."""
    app.add_role("measured", MeasuredRole())


class MeasuredRole(PublishedRole):
    """``measured`` with ``NAME ID [WHAT]``, or with ``benchmarks/NAME`` or ``summary/NAME`` and ``"ROW" ["COLUMN"]``.

    A row of a summary is a run, whose column is given, or what is compared between runs.
    """

    def shown(self) -> list[nodes.Node]:
        """The number as text."""
        text = self.text.strip()
        kinds = {BENCHMARKS: self._benchmark, SUMMARIES: self._summary}
        read = next((kinds[kind] for kind in kinds if text.startswith(kind)), self._claim)
        return [nodes.Text(read(text))]

    def _claim(self, text: str) -> str:
        name, *asked = words(text)
        if len(asked) not in (1, 2):
            raise _unreadable(text)
        depends_on(self.env, published.folder(name, root(self.env)).path.glob("claims.*"))
        return published.measured(name, *asked, root=root(self.env))

    def _benchmark(self, text: str) -> str:
        name, *asked = _quoted(text, BENCHMARKS)
        depends_on(self.env, [root(self.env) / "benchmarks" / "results" / f"{name}.json"])
        return published.benchmark_value(name, *asked, root=root(self.env))

    def _summary(self, text: str) -> str:
        name, *asked = _quoted(text, SUMMARIES)
        depends_on(self.env, published.folder(name, root(self.env)).path.glob("summary.*"))
        return summaries.number(name, *asked, root=root(self.env))


def _quoted(text: str, kind: str) -> list[str]:
    """The name, the row and, if it is given, the column."""
    try:
        place, *asked = shlex.split(text)
    except ValueError as error:
        raise _unreadable(text, f" ({error})") from None
    if len(asked) not in (1, 2):
        raise _unreadable(text)
    return [place.removeprefix(kind), *asked]


def _unreadable(text: str, why: str = "") -> InputError:
    return InputError([f"measured: cannot read {text!r}{why}; give {FORMS}"])
