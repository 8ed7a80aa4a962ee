"""Rows of a claims table, made up."""

from experiments.runner.claims import Claim


def row(kind="law", status="holds", **changes):
    plain = {"id": "A", "paper": "P", "figure": "F", "statement": "s", "statistic": "worst", "measured": 0.5}
    plain |= {"relation": "<", "bound": 1.0, "spread": (0.25, 0.3, 0.5), "members": 3, "diverged": 0}
    return Claim(kind=kind, status=status, **(plain | changes))
