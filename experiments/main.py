"""Run a config: python -m experiments.main --config=configs/NAME.py[:PROFILE] [--config.FIELD=VALUE ...].

``--list [WORD ...]`` lists the configs, from the text of their files alone.

Exit codes: 0 done; 1 a claim fails under --strict; 2 a bad config or input, or a folder that cannot be used;
70 an error of ours; 75 stopped by a signal, after a checkpoint where one was due, by a full disk or a folder that is
moved away; 130 ended at once by a second signal (after both, the same command resumes from the last checkpoint).
"""

import signal

if __name__ == "__main__":
    from experiments.runner import streams

    streams.open_closed()
    # Until signals are listened to there are only imports to stop, and once they are not, JAX shuts down.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from collections.abc import Sequence

from experiments.runner import catalog, checkout, columns, extras, listing, streams
from experiments.runner.command import BAD_INPUT, command_line, misused
from experiments.runner.setbacks import STOPPED, Setback
from experiments.runner.team import peers, supervisor


def main(arguments: Sequence[str] | None = None) -> int:
    """Check everything first, then run; return the exit code."""
    options, overrides = command_line().parse_known_args(arguments)
    if problems := misused(options, overrides) or peers.problems(options) or checkout.problems():
        streams.complain(problems)
        return BAD_INPUT
    if options.list is not None:
        return list_configs(options.list)
    if problems := extras.problems("experiments", "run"):
        streams.complain(problems)
        return BAD_INPUT
    if options.distributed and not supervisor.is_supervised():
        return supervisor.supervise(sys.argv[1:] if arguments is None else arguments, peers.found(options))
    # Imported late: --list and --help need no package but Python's own.
    from experiments.runner.launch import launch

    return launch(options, overrides)


def list_configs(words: Sequence[str]) -> int:
    """Print the configs that have all the words; return the exit code."""
    known = catalog.entries(checkout.SOURCE)
    if not (found := listing.matching(known, words)):
        streams.complain([listing.unmatched(known, words)])
        return BAD_INPUT
    try:
        streams.write(listing.listing(found, columns.terminal_width()))
    except Setback as setback:
        streams.complain([str(setback)])
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
