"""Prediction servers that register themselves, and what becomes of them.

Each is a FastAPI process. Two are sound and go live one after the other; one dies while it answers a share of the requests;
one answers in any name that it is asked for, so that nobody knows what it serves. Clients ask all the time.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import models
from gateway import Failed, Gateway, Load, free_port, main, say
from pipeline import flower, is_valid

CONFIG = """
[discovery.fleet]
lease = "2s"

[models.iris.release]
steps      = ["10%", "50%"]
responses  = [100, 500]
dwell      = "2s"
between    = "0s"
failures   = 100
unproven   = true
validating = "2m"
shadow     = { pairs = 200, slower = 1000, drops = "100%" }

[models.iris.guard]
error_ratio = { margin = "5%" }
"""


class Fleet:
    """Server processes by version."""

    def __init__(self, gateway, folder):
        self.gateway, self.folder, self.processes = gateway, folder, {}

    def start(self, version, model, wrong=False):
        """Starts a server that registers as `version`; a `wrong` one is not what it registers."""
        file = self.folder / f"{version}.onnx"
        file.write_bytes(model.SerializeToString())
        command = [
            sys.executable, str(Path(__file__).parent / "server.py"), str(file), "--port", str(free_port()),
            "--admin", f"http://127.0.0.1:{self.gateway.admin}", "--model", "iris", "--version", version,
        ]
        self.run(version, [*command, "--careless"] if wrong else command)

    def run(self, version, command, **more):
        log = (self.folder / f"{version}.log").open("wb")
        self.processes[version] = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **more
        )

    def kill(self, version):
        """Ends a server and whatever it started, without a word."""
        process = self.processes[version]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self):
        for version in self.processes:
            self.kill(version)


def show(binary):
    story(binary, Fleet, "answers in any name", "identity")


def story(binary, kind, what_is_wrong, why):
    """Four servers of a kind; the last one is not what it registers."""
    folder = Path(tempfile.mkdtemp(prefix="pointsman-demo-"))
    gateway = Gateway(binary, folder, CONFIG)
    fleet = kind(gateway, folder)
    load = None

    def told():
        answers, wrong, by_version = load.told()
        say(f"    clients meanwhile: {answers} answers {by_version}, {len(wrong)} not as they should be")
        if wrong:
            raise Failed(f"clients noticed: {wrong[:3]}")

    def ends(version, *stages, why=""):
        shown, _ = gateway.follow("iris", version, ("live", "retired", "quarantined"))
        say(f"    {shown['why']}")
        if shown["stage"] not in stages or why not in shown["why"]:
            raise Failed(f"{version} is {shown['stage']} and should be {' or '.join(stages)} {why}")

    try:
        say("\nv1: the first server")
        fleet.start("v1", models.sound())
        ends("v1", "live")
        gateway.wait("v1 answers", lambda: gateway.version("iris", "v1")["ready"])
        load = Load(gateway, "iris", flower, is_valid)
        say("\nv2: trained on a few flowers more")
        fleet.start("v2", models.sound(10))
        ends("v2", "live")
        told()
        say("\nv3: dies while it is on trial")
        fleet.start("v3", models.sound(20))
        gateway.follow("iris", "v3", ("canary",))
        gateway.wait("v3 answers clients", lambda: load.by_version.get("v3", 0) > 20)
        fleet.kill("v3")
        say("    v3 is killed")
        ends("v3", "retired", "quarantined")
        # Requests that it held when it died, and those that came before that was known, went to v2.
        told()
        say(f"\nv4: {what_is_wrong}")
        fleet.start("v4", models.sound(), wrong=True)
        ends("v4", "quarantined", why=why)
        told()
        say("\nevery server ended as it should")
    finally:
        if load:
            load.stop()
        gateway.stop()
        fleet.stop()
        say(f"the folder of the demonstration: {folder}")


if __name__ == "__main__":
    main(show)
