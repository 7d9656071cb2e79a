"""Compares what clients were promised with what the files say: Parquet by DuckDB, and the unified view of
`log query` over Parquet and segments."""

import base64
import hashlib
import json
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

# What is compared of a row, in this order.
COLUMNS = "record_id, request_id, model, model_version, status, req_body, req_bytes, resp_body, resp_bytes"


@dataclass
class Row:
    request_id: str
    model: str
    version: str
    status: int
    request: str
    response: str


@dataclass
class Verdict:
    found: int = 0
    in_parquet: int = 0
    in_segments: int = 0
    retained: int = 0
    missing: list = field(default_factory=list)
    duplicates: list = field(default_factory=list)
    foreign: list = field(default_factory=list)
    other: list = field(default_factory=list)

    def is_clean(self):
        return not (self.missing or self.duplicates or self.foreign or self.other)


def digest(body):
    return hashlib.sha256(body).hexdigest()


def from_parquet(folder):
    """Every inference row of the Parquet files: (record id, Row)."""
    if not any(Path(folder).rglob("*.parquet")):
        return
    query = f"select {COLUMNS} from read_parquet('{folder}/**/*.parquet', hive_partitioning=true) where kind = 'inference'"
    rows = duckdb.connect().execute(query)
    while batch := rows.fetchmany(2000):
        for record_id, request_id, model, version, status, req, req_bytes, resp, resp_bytes in batch:
            # DuckDB shows a 16-byte id as a blob or, by its logical type, as a UUID.
            name = record_id.hex() if isinstance(record_id, bytes) else str(record_id).replace("-", "")
            complete = len(req or b"") == req_bytes and len(resp or b"") == resp_bytes
            yield name, Row(
                request_id, model or "", version or "", status,
                digest(req or b"") if complete else "cut", digest(resp or b"") if complete else "cut",
            )


def from_log(gateway, arguments):
    """Every inference row that a command prints, and everything that is no row."""
    command = [gateway.binary, "log", "-c", str(gateway.config), *arguments, "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as printed:
        for line in printed.stdout:
            row = json.loads(line)
            if row.get("kind") == "retry":
                continue
            if row.get("kind") != "inference":
                yield None, line.strip()
                continue

            def body(side):
                text = row[f"{side}_body"] or ""
                kept = base64.b64decode(text) if row[f"{side}_body_encoding"] == "base64" else text.encode()
                return digest(kept) if len(kept) == row[f"{side}_bytes"] else "cut"

            yield row["record_id"].replace("-", ""), Row(
                row["request_id"], row["model"] or "", row["model_version"] or "", row["status"],
                body("req"), body("resp"),
            )
        problems = printed.stderr.read().strip()
    if printed.returncode != 0:
        yield None, f"exit code {printed.returncode}: {problems}"


def check(ledger, gateway, retained=None):
    """The verdict on one mode, after a clean stop. Where retention was at work, `retained` says what it took."""
    verdict = Verdict()
    parquet, segments = {}, {}

    def take(source, name, into):
        counts = Counter()
        for record_id, row in source:
            if record_id is None and retained and '"gap_reason":"skipped"' in row:
                continue
            if record_id is None:
                verdict.other.append(f"{name}: {row}")
                continue
            counts[record_id] += 1
            into[record_id] = row
        verdict.duplicates += [f"{record_id} {n} times in {name}" for record_id, n in counts.items() if n > 1]

    take(from_parquet(gateway.data / "parquet"), "parquet", parquet)
    take(from_log(gateway, gateway.everything), "the log", segments)
    if gateway.verifies:
        command = [gateway.binary, "log", "-c", str(gateway.config), "verify"]
        verified = subprocess.run(command, capture_output=True, text=True)
        if verified.returncode != 0:
            verdict.other.append(f"log verify: {verified.stdout}{verified.stderr}")
    verdict.in_parquet = len(parquet)
    verdict.in_segments = len(segments.keys() - parquet.keys())
    rows = {**segments, **parquet}
    verdict.found = len(ledger.acknowledged.keys() & {dashed(name) for name in rows})

    for record_id, entry in ledger.acknowledged.items():
        name = record_id.replace("-", "")
        row = rows.get(name)
        if row is None and retained and retained.excuses(name):
            verdict.retained += 1
        elif row is None:
            verdict.missing.append(f"{record_id} (round {entry.round}, {entry})")
        elif name not in segments:
            verdict.missing.append(f"{record_id} from the unified view (round {entry.round})")
        elif (row.request_id, row.model, row.version, row.status, row.response) != (
            entry.request_id, entry.model, entry.version, entry.status, entry.body,
        ):
            verdict.foreign.append(f"{record_id}: {row} is not {entry}")
    # A client id is used once, so that one that has two rows was recorded twice.
    ids = Counter(row.request_id for row in rows.values())
    verdict.duplicates += [f"request {request_id} has {n} rows" for request_id, n in ids.items() if n > 1]
    for name, row in rows.items():
        sent = ledger.sent.get(row.request_id)
        if sent is None or row.status == 200 and row.request != sent.body:
            verdict.foreign.append(f"{dashed(name)}: {row} was not sent so")
        if name in parquet and name in segments and parquet[name] != segments[name]:
            verdict.foreign.append(f"{dashed(name)}: Parquet and the unified view disagree")
    return verdict


def dashed(name):
    return "-".join((name[:8], name[8:12], name[12:16], name[16:20], name[20:]))
