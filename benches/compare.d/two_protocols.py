"""The model in the process over gRPC and over REST, from one load generator that speaks both (h2load).

Never judges the answers' content: that is the client tests' work. Calls that fail are told.
"""

import re
import shutil
import struct

from load import CONNECTIONS, median, over, table
from servers import PATH, left_out, run, say

CALL = "/inference.GRPCInferenceService/ModelInfer"


def field(number, content):
    """A length-delimited field of a protobuf message shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def request():
    """The flower of `BODY` as a `ModelInferRequest` in the frame of gRPC."""
    tensor = field(1, b"input") + field(2, b"FP32") + field(3, bytes([1, 4]))
    raw = struct.pack("<4f", 5.1, 3.5, 1.4, 0.2)
    message = field(1, b"iris") + field(5, tensor) + field(7, raw)
    return struct.pack(">BI", 0, len(message)) + message


def h2load(bench, port, path, body, options):
    seconds = bench.options.seconds
    command = ["h2load", "-t1", f"-c{CONNECTIONS}", "-m1", f"-D{seconds}", "-d", str(body), *options]
    text = run([*command, f"http://127.0.0.1:{port}{path}"], seconds + 30)
    found = re.search(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    # A call that fails is a 200 without data.
    data = re.search(r"\((\d+)\) data", text)
    if not found or not int(found[1]) or not data or not int(data[1]):
        raise SystemExit(f"h2load failed:\n{text[:2000]}")
    if int(found[2]) or int(found[3]):
        say(f"!! ERRORS under load: {found[0]}")
    return int(found[1])


def over_grpc(bench, server):
    """Requests a second of both, taking turns."""
    if not shutil.which("h2load"):
        left_out("gRPC: h2load is not installed (Debian: nghttp2-client)")
        return
    message = bench.scratch / "message.bin"
    message.write_bytes(request())
    ways = {
        "REST, HTTP/1.1": (PATH, bench.body, ["--h1", "-H", "content-type: application/json"]),
        "gRPC, HTTP/2": (CALL, message, ["-H", "content-type: application/grpc", "-H", "te: trailers"]),
    }
    results = {name: [] for name in ways}
    for _ in range(bench.options.rounds):
        for name, (path, body, options) in ways.items():
            before = sum(server.cpu())
            done = h2load(bench, server.port, path, body, options)
            cost = (sum(server.cpu()) - before) * 1e6 / done
            results[name].append({"rps": done / bench.options.seconds, "cpu": cost})
    rest, grpc = ways
    rows = [[name, f"{median(runs, 'cpu'):.1f}", f"{median(runs, 'rps'):.0f}"] for name, runs in results.items()]
    table(f"Iris inside the process by two protocols (h2load, {CONNECTIONS} connections)", ["", "CPU us/req", "req/s"], rows)
    bench.ratio("iris_grpc_vs_rest", over(results, grpc, rest, "rps"), 0.5)
