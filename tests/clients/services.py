"""The ways to the same iris that the clients of other projects are tried on.

`in process` is the gateway's own model; the others are the gateway in front of a prediction server; `triton itself`
has no gateway between, so that a test that expects too much or too little of Triton's protocol fails there.
"""

import time
import urllib.request
from dataclasses import dataclass

from gateway import MODELS, Gateway
from peers import PEERS

WAYS = ["in process", "triton itself", *PEERS]

TOLD_LIMIT_S = 20
LOG = '[log]\ndurability = "os"\n'
IN_PROCESS = f'[models.iris.versions.v1]\nonnx = "{MODELS}/iris/v1/model.onnx"\n'


@dataclass
class Service:
    """Where iris is asked for. `version` is the version's name there, None where clients name none."""

    way: str
    http: str
    grpc: str
    version: str | None
    gateway: Gateway | None
    # What answers to binary requests call the version: bytes of a server that has binary tensors pass untouched.
    answered: str | None


def proxied(peer):
    """The configuration of iris/v1 on a prediction server, which is asked what it speaks."""
    return f'[models.iris.versions.v1]\nbackends = ["{peer.url}"]\ndialect = "ask"\n'


def await_ready(gateway):
    """Waits until it is known what the backend speaks."""
    limit = time.monotonic() + TOLD_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(f"{gateway.url}/v2/models/iris/ready", timeout=5):
                return
        except OSError:
            assert time.monotonic() < limit, gateway.output()
            time.sleep(0.05)


def services(way, directory):
    """Yields the service, and stops at the end what was started for it."""
    peer = None if way == "in process" else PEERS[way.split()[0]](directory / "server")
    gateway = None
    try:
        if peer is not None:
            peer.start()
        if way == "triton itself":
            address = f"127.0.0.1:{peer.http_port}"
            yield Service(way, address, f"127.0.0.1:{peer.grpc_port}", peer.version, None, peer.version)
            return
        gateway = Gateway(directory / "gateway", (IN_PROCESS if peer is None else proxied(peer)) + LOG)
        gateway.start()
        await_ready(gateway)
        answered = peer.version if peer is not None and peer.binary else "v1"
        yield Service(way, gateway.address, gateway.address, "v1", gateway, answered)
        gateway.stop()
    finally:
        if gateway is not None and gateway.process:
            gateway.kill()
        if peer is not None:
            peer.stop()
