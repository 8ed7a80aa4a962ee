"""The one runner: configs, sweeps, run folders, verdicts and the look of figures; it knows no law."""
