"""How a command ends that runs nothing itself: lines for people, and an exit code.

0 done; 1 what was to be checked is not so; 2 bad input; 70 an error of ours; 75 a full disk; 130 interrupted. What such
a command prints goes through ``streams.write``: output that nobody reads any more does not end it, a full one does.
"""

import traceback
from collections.abc import Callable

from experiments.runner import streams
from experiments.runner.command import BAD_INPUT
from experiments.runner.setbacks import STOPPED, Setback
from experiments.runner.settings import ConfigError
from experiments.runner.store import InputError

__all__ = ["INTERRUPTED", "OUR_ERROR", "exit_code"]

OUR_ERROR, INTERRUPTED = 70, 130


def exit_code(act: Callable[[], int]) -> int:
    """What ``act`` returns; whatever ends it becomes lines on stderr and an exit code."""
    try:
        return act()
    except (InputError, ConfigError) as refusal:
        streams.complain(refusal.problems)
        return BAD_INPUT
    except Setback as setback:
        # Nothing is resumed here: what a run would do next is no part of the line.
        streams.complain([str(setback).removesuffix(", which resumes the run")])
        return STOPPED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return OUR_ERROR
