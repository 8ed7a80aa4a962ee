"""A signal to the command that runs configs reaches the run, and the command waits for it."""

import os
import signal
import subprocess
import sys

import pytest
from source_tree import ROOT

# In place of experiments.main: waits for a signal, and ends with its parent.
RUN = """
import os, signal, sys, time
from pathlib import Path

def stop(number, frame):
    Path("heard").write_text(str(number))
    sys.exit(75)

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, stop)
parent = os.getppid()
print("begun", flush=True)
while os.getppid() == parent:
    time.sleep(0.02)
"""
COMMAND = """
import signal, sys
from pathlib import Path
from experiments.runner import children

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
children.SOURCE = Path(sys.argv[1])
sys.exit(children.run_config("any", "cpu", children.SOURCE / "run"))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_command_alone_stops_the_run(tmp_path, number):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").touch()
    (tmp_path / "experiments" / "main.py").write_text(RUN)
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.wait() == 75
    assert (tmp_path / "heard").read_text() == str(int(number))
