"""The Parquet files as DuckDB, pyarrow and Polars read them: the same rows as `log tail`, and easy to ask."""

import base64
import datetime
import http.client
import json
from collections import Counter

import duckdb
import polars
import pyarrow.dataset
import pytest
from gateway import LOCAL_MODELS, expected

GOOD = json.dumps({"inputs": expected("iris", "v1")[0]["inputs"]}).encode()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A log that was recorded and ended by SIGTERM: its rows as `log tail` prints them, and its Parquet files."""
    from gateway import Gateway

    gateway = Gateway(tmp_path_factory.mktemp("parquet"), LOCAL_MODELS)
    try:
        gateway.start()
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
        for number in range(60):
            path, body = [
                ("/v2/models/iris/infer", GOOD),
                ("/v2/models/iris/versions/v2/infer", GOOD),
                ("/v2/models/nosuchmodel/infer", b"{not json"),
            ][number % 3]
            connection.request("POST", path, body, {"x-request-id": f"request-{number}"})
            connection.getresponse().read()
        rows = gateway.records()
        gateway.stop()
    finally:
        if gateway.process:
            gateway.kill()
    root = gateway.directory / "data" / "parquet"
    assert len(rows) == 60
    return rows, root


def key(row):
    return row["model"], row["model_version"], row["status"]


def test_duckdb_counts_by_model_version_and_status(recorded):
    rows, root = recorded
    found = duckdb.sql(
        "select model, model_version, status, count(*) "
        f"from read_parquet('{root}/**/*.parquet', hive_partitioning=true) group by all"
    ).fetchall()
    assert {tuple(row[:3]): row[3] for row in found} == Counter(map(key, rows))
    assert len(found) >= 3


def test_pyarrow_and_polars_count_the_same(recorded):
    rows, root = recorded
    arrow = pyarrow.dataset.dataset(root, partitioning="hive").to_table().to_pylist()
    assert Counter(map(key, arrow)) == Counter(map(key, rows))
    frame = polars.read_parquet(f"{root}/**/*.parquet", hive_partitioning=True)
    counts = frame.group_by("model", "model_version", "status").len().rows()
    assert {row[:3]: row[3] for row in counts} == Counter(map(key, rows))


def test_a_row_is_found_by_its_id_everywhere(recorded):
    rows, root = recorded
    wanted = rows[17]
    pattern = f"{root}/**/*.parquet"
    ids = [("record_id", wanted["record_id"]), ("request_id", "request-17"), ("trace_id", wanted["trace_id"])]
    for column, value in ids:
        if value is None:
            continue
        found = duckdb.sql(f"select lsn from read_parquet('{pattern}') where {column} = '{value}'").fetchall()
        assert (wanted["lsn"],) in found
        dataset = pyarrow.dataset.dataset(root, partitioning="hive")
        table = dataset.to_table(filter=pyarrow.dataset.field(column) == value)
        assert wanted["lsn"] in table["lsn"].to_pylist()
        frame = polars.scan_parquet(pattern).filter(polars.col(column) == value).collect()
        assert wanted["lsn"] in frame["lsn"].to_list()


def test_every_row_has_the_values_that_log_tail_prints(recorded):
    rows, root = recorded
    table = pyarrow.dataset.dataset(root, partitioning="hive").to_table()
    found = {row["lsn"]: row for row in table.to_pylist()}
    assert sorted(found) == [row["lsn"] for row in rows]
    for row in rows:
        column = found[row["lsn"]]
        ts = datetime.datetime.fromisoformat(row["ts"])
        assert column["ts"] == ts and column["ts"].tzinfo is not None
        # Hive partitions: the hour in UTC.
        assert (str(column["dt"]), int(column["hour"])) == (ts.strftime("%Y-%m-%d"), ts.hour)
        for side in ("req", "resp"):
            body = row[f"{side}_body"]
            encoding = row[f"{side}_body_encoding"]
            body = base64.b64decode(body) if encoding == "base64" else body.encode()
            assert (column[f"{side}_body"] or b"") == body
            assert column[f"{side}_hash"].hex() == row[f"{side}_hash"]
            assert dict(column[f"{side}_headers"]) == row[f"{side}_headers"]
        assert str(column["entropy"]) == row["entropy"]
        done = {"ts", "entropy", "req_body", "resp_body", "req_hash", "resp_hash", "req_headers", "resp_headers"}
        for name in set(row) - done:
            if not name.endswith("_encoding") or name in column:
                assert column[name] == row[name], name


def test_no_unfinished_file_is_left(recorded):
    _, root = recorded
    assert not [path for path in root.with_name("parquet.work").rglob("*") if path.is_file()]
    assert all(path.suffix == ".parquet" for path in root.rglob("*") if path.is_file())
