"""The one runner: configs, sweeps, run folders, verdicts and the style of figures; it knows no law."""
