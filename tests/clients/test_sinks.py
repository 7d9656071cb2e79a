"""Deliveries as their receivers see them: CloudEvents by the official package, objects by pyarrow and DuckDB."""

import http.client
import http.server
import json
import threading
import time

import duckdb
import pyarrow.parquet
import pytest
from cloudevents.http import from_dict
from gateway import LOCAL_MODELS, expected
from seaweedfs import ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFS

PATIENCE_S = 60
BODY = json.dumps({"inputs": expected("iris", "v1")[0]["inputs"]}).encode()


def eventually(what, condition):
    limit = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < limit, f"timed out: {what}"
        time.sleep(0.05)
    return found


def predict(gateway, count):
    """Sends predictions; returns the ids of those that were answered."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    ids = set()
    for _ in range(count):
        connection.request("POST", "/v2/models/iris/infer", BODY, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        ids.add(answer.headers["x-prediction-id"])
    connection.close()
    return ids


def metric(gateway, series):
    line = next(line for line in gateway.metrics().splitlines() if line.startswith(series + " "))
    return float(line.split()[-1])


class Receiver(http.server.ThreadingHTTPServer):
    """Takes batches of CloudEvents; refuses what the package cannot read."""

    def __init__(self):
        self.events, self.kinds = [], set()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        events = [from_dict(event) for event in json.loads(body)]
        self.server.kinds.add(self.headers["content-type"].split(";")[0])
        self.server.events.extend(events)
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_cloudevents_are_read_by_their_own_package(start_gateway):
    receiver = Receiver()
    sink = f'[sinks.events]\nhttp = "http://127.0.0.1:{receiver.server_port}/"\nlinger = "10ms"\n'
    gateway = start_gateway(LOCAL_MODELS + sink)
    ids = predict(gateway, 30)
    eventually("all events", lambda: len(receiver.events) >= 60)
    gateway.stop()
    receiver.shutdown()
    assert receiver.kinds == {"application/cloudevents-batch+json"}
    requests = [event for event in receiver.events if event["type"].endswith(".request")]
    answers = [event for event in receiver.events if event["type"].endswith(".response")]
    assert {event["id"] for event in requests} == {event["id"] for event in answers} == ids
    assert requests[0].data == json.loads(BODY)
    assert answers[0].data["model_name"] == "iris"
    assert requests[0]["inferenceservicename"] == "iris"


@pytest.fixture
def store(tmp_path):
    server = SeaweedFS(tmp_path / "store")
    yield server.start()
    if server.process:
        server.kill()


def s3_config(store, prefix):
    """Segments of half a second, so that Parquet files come soon."""
    log = 'durability = "os"\nsegment_age = "500ms"\n'
    return (
        LOCAL_MODELS.replace('durability = "os"\n', log)
        + f'[sinks.lake]\ns3 = "{BUCKET}/{prefix}"\nendpoint = "{store.endpoint}"\n'
        + 'access_key_id = "${file:access}"\nsecret_access_key = "${file:secret}"\n'
        + 'timeout = "3s"\nbackoff = "200ms"\n'
    )


@pytest.fixture
def start_lake(start_gateway, tmp_path, store):
    """Starts a gateway that delivers to the store; the keys are in files beside its configuration."""

    def start(prefix):
        directory = tmp_path / prefix
        directory.mkdir()
        (directory / "access").write_text(ACCESS_KEY)
        (directory / "secret").write_text(SECRET_KEY)
        return start_gateway(s3_config(store, prefix), name=prefix)

    return start


def stored_ids(store, prefix):
    """The record ids in all objects, each as often as it is there."""
    ids = []
    for name in store.objects(prefix):
        table = pyarrow.parquet.read_table(f"{BUCKET}/{prefix}/{name}", filesystem=store.files, partitioning=None)
        rows = table.select(["record_id", "kind"]).to_pylist()
        ids += [str(row["record_id"]) for row in rows if row["kind"] == "inference"]
    return ids


def wait_for_objects(store, prefix, ids):
    def are_there():
        try:
            return ids <= set(stored_ids(store, prefix))
        except OSError:
            return False  # A server that was killed has its objects back a moment after it answers.

    eventually("all records in the bucket", are_there)


def test_files_arrive_as_they_are_and_duckdb_reads_them(start_lake, store):
    gateway = start_lake("plain")
    ids = predict(gateway, 200)
    wait_for_objects(store, "plain", ids)
    gateway.stop()
    parquet = gateway.directory / "data" / "parquet"
    objects = store.objects("plain")
    assert objects
    for name in objects:
        local = parquet / "/".join(part for part in name.split("/") if not part.startswith("replica="))
        with store.files.open_input_file(f"{BUCKET}/plain/{name}") as remote:
            assert remote.read() == local.read_bytes(), name
    connection = duckdb.connect()
    remote = [pyarrow.parquet.read_table(f"{BUCKET}/plain/{name}", filesystem=store.files, partitioning=None) for name in objects]
    delivered = pyarrow.concat_tables(remote)
    local = f"read_parquet('{parquet}/**/*.parquet', hive_partitioning=false)"
    query = "select model, model_version, status, count(*), min(lsn), max(lsn) from {} group by all order by all"
    assert connection.sql(query.format("delivered")).fetchall() == connection.sql(query.format(local)).fetchall()
    assert len(delivered) >= len(ids)


def test_a_killed_gateway_and_a_killed_server_make_neither_gaps_nor_duplicates(start_lake, store):
    gateway = start_lake("killed")
    ids = predict(gateway, 100)
    eventually("a first object", lambda: store.objects("killed"))
    store.kill()
    ids |= predict(gateway, 100)
    eventually("the sink is down", lambda: metric(gateway, 'pointsman_sink_up{sink="lake"}') == 0)
    gateway.kill()
    store.start()
    for _ in range(3):
        gateway.start()
        ids |= predict(gateway, 100)
        gateway.kill()
    gateway.start()
    wait_for_objects(store, "killed", ids)
    gateway.stop()
    found = stored_ids(store, "killed")
    assert len(found) == len(set(found)), "a record is in two objects"
