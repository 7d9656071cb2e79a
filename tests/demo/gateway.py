"""The gateway of a demonstration, its clients, and what they may not notice.

Owns the process, the load and the waiting. Knows no model and judges no version.
"""

import http.client
import json
import math
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

PATIENCE = 300
CLIENTS = 4
PAUSE = 0.008


def say(text=""):
    print(text, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Failed(Exception):
    """The demonstration does not show what it should."""


class Gateway:
    """A pointsman in a folder, as its configuration says."""

    def __init__(self, binary, folder, config):
        self.port, self.admin = free_port(), free_port()
        self.folder = Path(folder)
        text = f'listen = "127.0.0.1:{self.port}"\nadmin = "127.0.0.1:{self.admin}"\ndata_dir = "data"\n{config}'
        (self.folder / "pointsman.toml").write_text(text)
        self.log = (self.folder / "gateway.log").open("wb")
        self.process = subprocess.Popen(
            [binary, "run", "-c", "pointsman.toml"], cwd=folder, stdout=self.log, stderr=subprocess.STDOUT
        )
        self.wait("the gateway is ready", lambda: self.ask("GET", "/readyz")[0] == 200)

    def ask(self, method, path, body=None):
        """An answer of the admin listener: status and JSON, or text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            reply = connection.getresponse()
            text = reply.read().decode()
            return reply.status, json.loads(text) if text.startswith(("{", "[")) else text
        except OSError:
            return 0, None
        finally:
            connection.close()

    def wait(self, what, condition, patience=PATIENCE):
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise Failed(f"the gateway ended while waiting until {what}; see {self.folder}/gateway.log")
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise Failed(f"timed out: {what}")

    def version(self, model, version):
        status, shown = self.ask("GET", f"/api/v1/models/{model}/versions/{version}")
        return shown if status == 200 else {"stage": "unknown", "why": None}

    def follow(self, model, version, ends, patience=PATIENCE):
        """Tells each stage of a version until it is at one of `ends`; returns what is shown of it then."""
        seen = []

        def arrived():
            shown = self.version(model, version)
            if shown["stage"] not in seen:
                seen.append(shown["stage"])
                say(f"    {version} is {shown['stage']}")
            return shown if shown["stage"] in ends else None

        try:
            shown = self.wait(f"{model}/{version} is {' or '.join(ends)}", arrived, patience)
        except Failed:
            say(json.dumps(self.version(model, version), indent=2))
            raise
        return shown, seen

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


class Load:
    """Clients that ask without a pause worth the name, and look at each answer."""

    def __init__(self, gateway, model, row, is_valid):
        self.path = f"/v2/models/{model}/infer"
        self.gateway, self.row, self.is_valid = gateway, row, is_valid
        self.lock = threading.Lock()
        self.answers, self.wrong, self.by_version = 0, [], {}
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.client, args=(seed,), daemon=True) for seed in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def client(self, seed):
        random_ = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=10)
        while not self.ended.wait(PAUSE):
            try:
                connection.request("POST", self.path, body=json.dumps(self.row(random_)))
                reply = connection.getresponse()
                text = reply.read().decode()
                fault = self.fault(reply.status, text)
                version = reply.getheader("x-pointsman-version", "none")
            except OSError as error:
                connection.close()
                fault, version = repr(error), "none"
            with self.lock:
                self.answers += 1
                self.by_version[version] = self.by_version.get(version, 0) + 1
                if fault:
                    self.wrong.append(f"{version}: {fault}")

    def fault(self, status, text):
        if status != 200:
            return f"status {status}: {text[:200]}"
        try:
            outputs = {output["name"]: output["data"] for output in json.loads(text)["outputs"]}
        except (ValueError, KeyError) as error:
            return f"no answer: {error!r}: {text[:200]}"
        return None if self.is_valid(outputs) else f"no valid answer: {text[:300]}"

    def told(self):
        """What clients saw since the last time that it was told: answers, faults, answers by version."""
        with self.lock:
            told = self.answers, self.wrong, self.by_version
            self.answers, self.wrong, self.by_version = 0, [], {}
        return told

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(15)


def finite(numbers):
    return all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers)


def main(show):
    """Runs a demonstration with the program that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} PROGRAM")
    try:
        show(str(Path(sys.argv[1]).resolve()))
    except Failed as failed:
        raise SystemExit(f"error: {failed}") from None
