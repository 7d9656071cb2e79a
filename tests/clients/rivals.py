"""Asks the other libraries: an interpreter of its own, because their packages are not those of the client tests."""

import json
import os
import subprocess
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pointsman"
PYTHON = CACHE / "venv-loan" / "bin" / "python"


class Rivals:
    """`ask(name, …)` calls a function of `peers/rivals.py`."""

    def __init__(self):
        if not PYTHON.exists():
            pytest.skip(f"COMPARISON WITH OTHER LIBRARIES NOT RUN: {PYTHON} is missing; tests/setup test makes it")
        command = [PYTHON, Path(__file__).with_name("peers") / "rivals.py"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, name, **arguments):
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the other libraries do not answer: {name}"
        return json.loads(answer)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(30)


class Sheet:
    """Gathers everything that differs, so that one look shows all of it."""

    def __init__(self):
        self.differences, self.compared = [], 0

    def close(self, what, ours, theirs, slack=1e-9):
        """Equal but for rounding: `slack`, and as much of the value."""
        self.compared += 1
        if ours is None or not abs(ours - theirs) <= slack * (1 + abs(theirs)):
            self.differences.append(f"{what}: {ours} is not {theirs}")

    def relative(self, what, ours, theirs, slack):
        """Equal but for so much of the value, however small it is; below 1e-280 both are nothing."""
        self.compared += 1
        if ours is None or not (abs(ours - theirs) <= slack * abs(theirs) or max(ours, theirs) < 1e-280):
            self.differences.append(f"{what}: {ours} is not {theirs}")

    def same(self, what, ours, theirs):
        self.compared += 1
        if ours != theirs:
            self.differences.append(f"{what}: {ours} is not {theirs}")

    def within(self, what, interval, value, slack=1e-9):
        self.compared += 1
        slack *= 1 + abs(value)
        if interval is None or not interval["lower"] - slack <= value <= interval["upper"] + slack:
            self.differences.append(f"{what}: {value} is not in {interval}")

    def end(self):
        print(f"{self.compared} comparisons")
        assert self.compared and not self.differences, "\n".join(self.differences)
