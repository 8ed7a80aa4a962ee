"""The directive ``claims``, a table of published claims, and the role ``claim``, which links to a row of one."""

from collections.abc import Iterator, Mapping, Sequence

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain

from experiments import published
from experiments.other_seed import OtherSeed, differing
from experiments.runner.claims import STATUSES, Claim, comparison
from experiments.runner.fields import nearest
from experiments.runner.store import InputError
from extension.basics import PublishedDirective, PublishedRole, depends_on, paragraph, root, table, words

__all__ = ["ClaimRole", "ClaimsDirective", "anchor", "setup"]

COLUMNS = ("id", "statement", "measured", "verdict")
# Pages whose rows a link leads to, where several show the same claim.
FIRST = "papers/"


def setup(app: Sphinx) -> None:
    """Register the directive and the role."""
    app.add_directive("claims", ClaimsDirective)
    app.add_role("claim", ClaimRole())


class ClaimsDirective(PublishedDirective):
    """``claims NAME [ID ...]``: a table; below it why a claim has no verdict, and which verdicts depend on the seed."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"status": directives.unchanged_required}  # noqa: RUF012  # docutils' own form

    def shown(self) -> list[nodes.Node]:
        """The table and the remarks."""
        name, *ids = words(self.arguments[0])
        rows = published.claims(name, ids, root(self.env))
        other = differing(name, root(self.env))
        depends_on(self.env, published.folder(name, root(self.env)).path.glob("claims.*"))
        depends_on(self.env, (root(self.env) / "benchmarks" / "results").glob("holdout.json"))
        if wanted := _statuses(self.options.get("status", "")):
            rows = tuple(row for row in rows if row.status in wanted)
        if not rows:
            return [paragraph(f"{name} has no claim with the verdict {' or '.join(map(_spoken, wanted))}.")]
        cells = [self._cells(name, row) for row in rows]
        return [table(f"Claims of {name}", COLUMNS, cells, classes=["claims"]), *_remarks(rows, other)]

    def _cells(self, name: str, row: Claim) -> list[nodes.Node | str]:
        first = nodes.entry("", paragraph(nodes.literal("", row.id)))
        if (place := anchor(name, row.id)) not in self.state.document.ids:
            first["ids"].append(place)
            self.state.document.note_explicit_target(first)
            self._announce(place, f"{name} {row.id}")
        return [first, row.statement, comparison(row), _spoken(row.status)]

    def _announce(self, place: str, title: str) -> None:
        """Let links find the row, as they find a heading."""
        domain = self.env.domains.standard_domain
        if place not in domain.labels or self.env.docname.startswith(FIRST):
            domain.labels[place] = (self.env.docname, place, title)
            domain.anonlabels[place] = (self.env.docname, place)


class ClaimRole(PublishedRole):
    """``claim`` with ``NAME ID``: a link to the claim's row, by its id."""

    def shown(self) -> list[nodes.Node]:
        """The link, which the build resolves when all pages are read."""
        name, _, id = self.text.strip().partition(" ")
        if not id:
            raise InputError(
                [f"the claim {self.text!r} lacks an id: give NAME ID, as in dln_parsimony T1.value[case1]"]
            )
        row = published.claims(name, (id.strip(),), root(self.env))[0]
        place = anchor(name, row.id)
        title = nodes.literal("", id.strip(), classes=["xref", "std"])
        options = {"refdomain": StandardDomain.name, "reftype": "ref", "reftarget": place, "refexplicit": True}
        return [addnodes.pending_xref("", title, refdoc=self.env.docname, refwarn=True, **options)]


def anchor(name: str, id: str) -> str:
    """The address of a claim's row in its page: ``claim-dln-parsimony-t1-value-case1``."""
    return nodes.make_id(f"claim-{name}-{id}")


def _statuses(text: str) -> list[str]:
    """The verdicts of the option ``status``, which may be separated by commas."""
    wanted = text.replace(",", " ").split()
    for word in wanted:
        if word not in STATUSES:
            raise InputError(
                [f"status: there is no verdict {word}{nearest(word, STATUSES)}; allowed: {', '.join(STATUSES)}"]
            )
    return wanted


def _spoken(status: str) -> str:
    return status.replace("_", " ")


def _remarks(rows: Sequence[Claim], other: Mapping[str, OtherSeed]) -> list[nodes.Node]:
    items = [
        nodes.list_item("", paragraph(nodes.literal("", row.id), f" {said}"))
        for row in rows
        for said in _said(row, other.get(row.id))
    ]
    return [nodes.bullet_list("", *items, classes=["reasons"])] if items else []


def _said(row: Claim, other: OtherSeed | None) -> Iterator[str]:
    if row.reason:
        yield f"({_spoken(row.status)}): {row.reason}"
    if other:
        yield f"{_spoken(other.status)} with root seed {other.seed}, which chose no bound: {other.comparison}"
