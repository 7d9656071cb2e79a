"""Exports as DuckDB reads them: the same rows as `log query` prints, from Parquet and from JSON lines."""

import http.client
import json
import subprocess

import duckdb
from gateway import LOCAL_MODELS, binary, expected

GOOD = json.dumps({"inputs": expected("iris", "v1")[0]["inputs"]}).encode()
COLUMNS = "record_id, lsn, request_id, model, model_version, status, outcome, path, t_total"


def command(gateway, *arguments):
    done = subprocess.run(
        [binary(), "log", *arguments, "-c", str(gateway.config)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_duckdb_reads_the_same_rows_from_every_export(start_gateway):
    gateway = start_gateway(LOCAL_MODELS)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    for number in range(50):
        path = "/v2/models/iris/infer" if number % 3 else "/v2/models/nosuchmodel/infer"
        connection.request("POST", path, GOOD, {"x-request-id": f"request-{number}"})
        connection.getresponse().read()
    gateway.stop()
    names = COLUMNS.split(", ")
    printed = [json.loads(line) for line in command(gateway, "query", "--format", "json").splitlines()]
    wanted = sorted(tuple(row[name] for name in names) for row in printed)
    assert len(wanted) == 50
    for form, read in [
        ("parquet", "read_parquet('{}/**/*.parquet', hive_partitioning=false)"),
        ("jsonl", "read_json('{}/**/*.jsonl', format='newline_delimited')"),
    ]:
        out = gateway.directory / form
        command(gateway, "export", "--format", form, "--out", str(out))
        found = duckdb.sql(f"select {COLUMNS} from {read.format(out)}").fetchall()
        found = sorted(tuple(str(v) if n == "record_id" else v for n, v in zip(names, row)) for row in found)
        assert found == wanted, form
    assert "no damage" in command(gateway, "verify")
