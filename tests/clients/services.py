"""The ways to the same models that the clients of other projects are tried on.

`in process` is the gateway's own model; the others are the gateway in front of a prediction server; `triton itself`
has no gateway between, so that a test that expects too much or too little of Triton's protocol fails there.
"""

import time
import urllib.request
from dataclasses import dataclass

import pytest
from gateway import COLOURS, MODELS, Gateway
from peers import PEERS, TensorflowServing

WAYS = ["in process", "triton itself", *PEERS]
SERVERS = {**PEERS, "tensorflow serving": TensorflowServing}

TOLD_LIMIT_S = 20
# v2 of `spare` has no traffic: it may be unloaded.
COMMON = f"""
[protocols]
repository = true
[log]
durability = "os"
[models.spare]
traffic = {{ v1 = "100%" }}
[models.spare.versions.v1]
onnx = "{MODELS}/iris/v1/model.onnx"
[models.spare.versions.v2]
onnx = "{MODELS}/iris/v2/model.onnx"
"""
IN_PROCESS = f"""
[models.iris.versions.v1]
onnx = "{MODELS}/iris/v1/model.onnx"
[models.colours.versions.v1]
onnx = "{COLOURS}"
"""


@dataclass
class Service:
    """Where they are asked for. `version` is the name of their version there, None where clients name none."""

    way: str
    http: str
    grpc: str
    version: str | None
    gateway: Gateway | None
    # What answers to binary requests call the version: bytes of a server that has binary tensors pass untouched.
    answered: str | None
    # Whether the gateway serves the models a second time, asking the same server over gRPC.
    both: bool = False

    def over_grpc(self, model="iris"):
        """The name of the model whose backend is asked over gRPC, whatever the client speaks."""
        if not self.both:
            pytest.skip("there is no server behind a gateway")
        return f"{model}_over_grpc"


def proxied(peer):
    """The configuration of the models on a prediction server: asked what it speaks, and once more over gRPC."""
    declared = []
    for model in ("iris", "colours"):
        declared.append(f'[models.{model}.versions.v1]\nbackends = ["{peer.url}"]\ndialect = "ask"\n')
        if peer.grpc:
            declared.append(
                f'[models.{model}_over_grpc.versions.v1]\nbackends = ["{peer.grpc_url}"]\n'
                f'dialect = "open_inference_grpc"\nremote_model = "{model}"\n'
            )
    return "".join(declared)


def await_ready(gateway, models):
    """Waits until it is known what the backend speaks, and what it has told of its models and extensions."""
    limit = time.monotonic() + TOLD_LIMIT_S
    while True:
        try:
            for path in [path for model in models for path in (model, f"{model}/ready")]:
                with urllib.request.urlopen(f"{gateway.url}/v2/models/{path}", timeout=5):
                    pass
            return
        except OSError:
            assert time.monotonic() < limit, gateway.output()
            time.sleep(0.05)


def services(way, directory):
    """Yields the service, and stops at the end what was started for it."""
    peer = None if way == "in process" else SERVERS[way.removesuffix(" itself")](directory / "server")
    gateway = None
    try:
        if peer is not None:
            peer.start()
        if way == "triton itself":
            address = f"127.0.0.1:{peer.http_port}"
            yield Service(way, address, f"127.0.0.1:{peer.grpc_port}", peer.version, None, peer.version)
            return
        gateway = Gateway(directory / "gateway", (IN_PROCESS if peer is None else proxied(peer)) + COMMON)
        gateway.start()
        both = peer is not None and peer.grpc
        models = ["iris", "colours"]
        await_ready(gateway, models + [f"{model}_over_grpc" for model in models if both])
        answered = peer.version if peer is not None and peer.binary else "v1"
        yield Service(way, gateway.address, gateway.address, "v1", gateway, answered, both)
        gateway.stop()
    finally:
        if gateway is not None and gateway.process:
            gateway.kill()
        if peer is not None:
            peer.stop()
