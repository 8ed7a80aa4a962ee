"""The role ``measured``: a published number in running text, of a claim or of a benchmark."""

import shlex

from docutils import nodes
from sphinx.application import Sphinx

from experiments import published
from experiments.runner.store import InputError
from extension.basics import PublishedRole, depends_on, root, words

__all__ = ["MeasuredRole", "setup"]

BENCHMARKS = "benchmarks/"
FORMS = 'NAME ID [bound, members or spread], or benchmarks/NAME "ROW" ["COLUMN"]'


def setup(app: Sphinx) -> None:
    """Register the role."""
    app.add_role("measured", MeasuredRole())


class MeasuredRole(PublishedRole):
    """``measured`` with ``NAME ID [WHAT]``, or with ``benchmarks/NAME "ROW" ["COLUMN"]``."""

    def shown(self) -> list[nodes.Node]:
        """The number as text."""
        text = self.text.strip()
        return [nodes.Text(self._benchmark(text) if text.startswith(BENCHMARKS) else self._claim(text))]

    def _claim(self, text: str) -> str:
        name, *asked = words(text)
        if len(asked) not in (1, 2):
            raise InputError([f"measured: cannot read {text!r}; give {FORMS}"])
        depends_on(self.env, published.folder(name, root(self.env)).path.glob("claims.*"))
        return published.measured(name, *asked, root=root(self.env))

    def _benchmark(self, text: str) -> str:
        try:
            place, *asked = shlex.split(text)
        except ValueError as error:
            raise InputError([f"measured: cannot read {text!r} ({error}); give {FORMS}"]) from None
        if len(asked) not in (1, 2):
            raise InputError([f"measured: cannot read {text!r}; give {FORMS}"])
        name = place.removeprefix(BENCHMARKS)
        depends_on(self.env, [root(self.env) / "benchmarks" / "results" / f"{name}.json"])
        return published.benchmark_value(name, *asked, root=root(self.env))
