"""What was redacted is in no file below data_dir: not in the segments, and in no column of any Parquet file."""

import base64
import gzip
import http.client
import json
import time
import zlib

from gateway import MODELS, expected

SECRET = "hunter2/Grüße-7f3a"

CONFIG = f"""
[models.iris.versions.v1]
onnx = "{MODELS}/iris/v1/model.onnx"
[log]
durability = "os"
segment_age = "1s"
[log.redact]
drop = ["/parameters/secret"]
mask = ["/parameters/list/*", "/id", "/inputs/*/datatype"]
"""


def encodings():
    """The secret as it might be stored, as bytes."""
    plain = SECRET.encode()
    yield from (plain, plain[::-1], plain.hex().encode(), plain.hex().upper().encode())
    yield "".join(f"%{byte:02X}" for byte in plain).encode()
    yield json.dumps(SECRET)[1:-1].encode()
    yield "".join(f"\\u{ord(char):04x}" for char in SECRET).encode()
    yield from (SECRET.encode("utf-16-le"), SECRET.encode("utf-16-be"))
    for skip in range(3):
        part = plain[skip:]
        part = part[: len(part) // 3 * 3]
        yield from (base64.b64encode(part), base64.urlsafe_b64encode(part))


def unpacked(data):
    """The bytes, and what they are when they begin like something compressed."""
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if data[:1] == b"\x78":
        try:
            yield zlib.decompress(data)
        except zlib.error:
            pass


def values(cell):
    """Every text and every bytes in a value of a column, however deep, as bytes."""
    if isinstance(cell, str):
        yield cell.encode()
    elif isinstance(cell, bytes):
        yield from unpacked(cell)
    elif isinstance(cell, dict):
        for key, value in cell.items():
            yield from values(key)
            yield from values(value)
    elif isinstance(cell, (list, tuple)):
        for value in cell:
            yield from values(value)


def post(gateway, body, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    connection.request("POST", "/v2/models/iris/infer", body, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


def test_a_redacted_secret_is_nowhere_below_data_dir(start_gateway):
    gateway = start_gateway(CONFIG)
    request = {"id": SECRET, "inputs": expected("iris", "v1")[0]["inputs"]}
    status, text = post(gateway, json.dumps(request))
    assert status == 200 and json.loads(text)["id"] == SECRET
    hidden = {**request, "parameters": {"secret": SECRET, "list": [SECRET, [SECRET]]}}
    post(gateway, json.dumps(hidden), {"authorization": SECRET.encode()})
    post(gateway, gzip.compress(json.dumps(hidden).encode()), {"content-encoding": "gzip"})
    post(gateway, SECRET.encode())
    request["inputs"][0]["datatype"] = SECRET
    status, text = post(gateway, json.dumps(request))
    assert status == 400 and SECRET in json.loads(text)["error"]
    # A closed segment may become a Parquet file while the gateway runs.
    time.sleep(2)
    post(gateway, json.dumps(hidden))
    gateway.stop()

    rows = gateway.records()
    assert len(rows) == 6
    assert (rows[0]["req_redacted"], rows[0]["resp_redacted"]) == (2, 1)
    needles = list(encodings())
    files = [path for path in (gateway.directory / "data").rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        assert not [needle for needle in needles if needle in data], path
        if path.suffix == ".parquet":
            import pyarrow.parquet as parquet

            for row in parquet.ParquetFile(path).read().to_pylist():
                for value in values(row):
                    assert not [needle for needle in needles if needle in value], (path, value)
