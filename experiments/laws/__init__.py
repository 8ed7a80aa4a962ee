"""One package per law: its system, measures, claims and figures."""
