"""Clients and what they remember.

A response is acknowledged once its last byte has been received and it says, in `x-pointsman-durability`,
that its record survives what the mode promises. The ledger lives in this process, which nobody kills.
"""

import hashlib
import json
import random
import socket
import threading
import time
from dataclasses import dataclass

from wire import Broken, Stream, header

TIMEOUT_S = 20


def wait_until(condition, limit):
    """Whether the condition came to hold within `limit` seconds."""
    until = time.monotonic() + limit
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True


@dataclass(slots=True)
class Sent:
    """A request as it was sent, by its x-request-id."""

    body: str  # sha256
    length: int
    round: int


@dataclass(slots=True)
class Acknowledged:
    """An answer as it was received, by its x-prediction-id."""

    request_id: str
    model: str
    version: str
    status: int
    body: str  # sha256 of the answer
    round: int


class Ledger:
    """What all clients of one mode sent and received."""

    def __init__(self, mode):
        self.mode = mode
        self.round = 0
        self.sent = {}
        self.acknowledged = {}
        self.not_promised = 0
        self.refused = 0
        self.unanswered = 0
        self.wrong = []
        # Set while no client is to send anything.
        self.paused = threading.Event()
        # How long a client waits after an answer.
        self.rest_s = 0

    def names(self):
        """The ids of the records that were acknowledged, without dashes."""
        return {record_id.replace("-", "") for record_id in list(self.acknowledged)}


class Client(threading.Thread):
    """Sends requests of every kind, one after the other, on connections that are kept as long as they last."""

    def __init__(self, ledger, port, name, seed):
        super().__init__(daemon=True)
        self.ledger, self.port, self.label = ledger, port, name
        self.random = random.Random(seed)
        self.count = 0
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
            except OSError:
                time.sleep(0.004)
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self._talk(connection)
            except (OSError, Broken):
                self.ledger.unanswered += 1
            finally:
                connection.close()

    def _talk(self, connection):
        stream = Stream(connection)
        while not self.over.is_set():
            if self.ledger.paused.is_set():
                time.sleep(0.01)
                continue
            self.count += 1
            request_id = f"{self.label}-{self.count}"
            path, body, chunked, wanted = self._request(request_id)
            sent = Sent(hashlib.sha256(body).hexdigest(), len(body), self.ledger.round)
            self.ledger.sent[request_id] = sent
            start = f"POST {path} HTTP/1.1\r\nhost: a\r\nx-request-id: {request_id}\r\n".encode()
            if chunked:
                half = len(body) // 2 or 1
                pieces = [piece for piece in (body[:half], body[half:]) if piece]
                framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
                connection.sendall(start + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n")
            else:
                connection.sendall(start + b"content-length: %d\r\n\r\n%s" % (len(body), body))
            head, answer = stream.message()
            if head is None:
                raise Broken
            self._received(request_id, head, answer, wanted, body)
            if self.ledger.rest_s:
                time.sleep(self.ledger.rest_s)
            if header(head, b"connection") == "close":
                return

    def _request(self, request_id):
        """Path, body, whether it is sent in chunks, and the wanted status. No two bodies are the same."""
        kind = self.random.random()
        numbers = [round(self.random.uniform(0, 8), 3) for _ in range(4)]
        tensor = {"name": "input", "datatype": "FP32", "shape": [1, 4], "data": numbers}
        prediction = json.dumps({"id": request_id, "inputs": [tensor]}).encode()
        text = f"{request_id} ".encode()
        filling = text + self.random.randbytes(self.random.choice((50, 800, 6000, 40000)))
        if kind < 0.45:
            return "/v2/models/iris/infer", prediction, False, 200
        if kind < 0.50:
            return "/v2/models/iris/infer", prediction, True, 200
        if kind < 0.70:
            return "/v2/models/echo/infer", filling, False, 200
        if kind < 0.78:
            return "/v2/models/echo/infer", filling, True, 200
        if kind < 0.92:
            return "/stream", filling, False, 200
        if kind < 0.96:
            return "/v2/models/iris/infer", b"no json: " + text, False, 400
        return "/v2/models/nosuchmodel/infer", text, False, 404

    def _received(self, request_id, head, answer, wanted, body):
        ledger = self.ledger
        status = int(head.split(b" ", 2)[1])
        reason = header(head, b"x-pointsman-error")
        if reason in ("log_full", "record_lost", "shutting_down"):
            ledger.refused += 1
            return
        if status != wanted or header(head, b"x-request-id") != request_id:
            ledger.wrong.append(f"{request_id}: status {status} {reason}, not {wanted}")
        if wanted == 200 and b"octet-stream" in head and answer != body:
            ledger.wrong.append(f"{request_id}: the answer of another request")
        promised = header(head, b"x-pointsman-durability") or ledger.mode
        record_id = header(head, b"x-prediction-id")
        if record_id is None or promised not in ("os", "sync"):
            ledger.not_promised += 1
            return
        ledger.acknowledged[record_id] = Acknowledged(
            request_id,
            header(head, b"x-pointsman-model") or "",
            header(head, b"x-pointsman-version") or "",
            status,
            hashlib.sha256(answer).hexdigest(),
            ledger.round,
        )
