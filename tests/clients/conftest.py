"""Fixtures and the closing line of the client tests."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway import LOCAL_MODELS, Gateway
from peers import PEERS
from rivals import Rivals

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kill_matrix"))

from clock import Clock  # noqa: E402


@pytest.fixture
def start_gateway(tmp_path):
    """Starts gateways by configuration; kills at the end what the test left running."""
    started = []

    def start(body, name="gateway", port=None):
        gateway = Gateway(tmp_path / name, body, port)
        started.append(gateway)
        return gateway.start()

    yield start
    for gateway in started:
        if gateway.process:
            gateway.kill()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """One gateway with models in its process, for all tests of a file; must end well at their end."""
    gateway = Gateway(tmp_path_factory.mktemp("local"), LOCAL_MODELS)
    try:
        yield gateway.start()
        gateway.stop()
    finally:
        if gateway.process:
            gateway.kill()


@pytest.fixture(scope="module", params=PEERS)
def peer(request, tmp_path_factory):
    """A prediction server of another project with the same iris; one of each kind for the tests of a file."""
    server = PEERS[request.param](tmp_path_factory.mktemp(request.param) / "server")
    try:
        yield server.start()
    finally:
        server.stop()


class Minutes:
    """The clock of a gateway, from the beginning of a minute on; the next ones come when they are asked for."""

    def __init__(self, folder):
        self.clock = Clock(folder)
        self.environment = self.clock.environment
        self.ahead_s = 61 - time.time() % 60
        self.clock.set(self.ahead_s)

    def skip(self, seconds):
        self.ahead_s += seconds
        self.clock.set(self.ahead_s)


@pytest.fixture
def minutes(tmp_path):
    try:
        return Minutes(tmp_path / "clock")
    except (RuntimeError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT RUN: {error}")


@pytest.fixture(scope="session")
def rivals():
    """Other libraries, in an interpreter of their own."""
    started = Rivals()
    yield started
    started.stop()


def pytest_terminal_summary(terminalreporter):
    """Prints the counts on a line of their own, in the same form as other runners."""
    counts = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error")}
    terminalreporter.write_line(f"{counts['passed']} passed, {counts['failed'] + counts['error']} failed")
