"""The wall clock goes an hour back and a day ahead, while the gateway runs and between two runs: every record is
there once, lies in the hour that it names, and nothing is removed because it only seems to be old.
"""

import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from gateway import MODELS, Gateway, binary

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kill_matrix"))

from backend import Backend  # noqa: E402
from clock import Clock  # noqa: E402
from ledger import Client, Ledger, wait_until  # noqa: E402

HOUR_S, DAY_S = 3600, 86400
MONTHS_S = 60 * DAY_S

CONFIG = """
workers = 2
[models.iris.versions.v1]
onnx = "{models}/iris/v1/model.onnx"
[models.echo.versions.v1]
backends = ["http://127.0.0.1:{backend}"]
[pools.stream]
backends = ["http://127.0.0.1:{backend}"]
[routes.stream]
path_prefix = "/stream"
pool = "stream"
[log]
durability = "os"
segment = "1MiB"
segment_age = "200ms"
retain_age = "2h"
[log.parquet]
cpu = "100%"
"""


def converted(gateway):
    """Record id, number and time of all rows in Parquet files, after a look at where they lie."""
    files = f"{gateway.directory}/data/parquet/**/*.parquet"
    query = (
        f"select record_id, lsn, epoch_us(ts), strftime(ts at time zone 'UTC', '%Y-%m-%d %H'), dt::varchar || ' ' || lpad(hour::varchar, 2, '0') "
        f"from read_parquet('{files}', hive_partitioning=true) where kind = 'inference' order by lsn"
    )
    for again in range(20, -1, -1):
        try:
            rows = duckdb.connect().execute(query).fetchall()
            break
        except duckdb.IOException:  # a file was merged between the listing and the reading, or there is none yet
            if not again:
                raise
            time.sleep(0.05)
    astray = [row for row in rows if row[3] != row[4]]
    assert not astray, f"rows of other hours: {astray[:3]}"
    return [(str(row[0]), row[1], row[2]) for row in rows]


def test_steps_of_the_clock_lose_nothing_and_mix_nothing_up(tmp_path):
    backend, ledger = Backend(), Ledger("os")
    try:
        clock = Clock(tmp_path / "clock")
    except (RuntimeError, subprocess.CalledProcessError) as error:
        pytest.skip(f"CLOCK TEST NOT RUN: {error}")
    gateway = Gateway(tmp_path / "gateway", CONFIG.format(models=MODELS, backend=backend.port))
    gateway.environment = clock.environment
    clients = [Client(ledger, gateway.port, f"c{n}", n) for n in range(3)]
    phases = []

    def serve(ahead_s):
        """Lets clients work with the clock ahead by so much."""
        clock.set(ahead_s)
        before, began = len(ledger.acknowledged), time.time()
        assert wait_until(lambda: len(ledger.acknowledged) > before + 150, 30)
        # Long enough for segments to be closed and converted, and for retention to look.
        time.sleep(1.5)
        phases.append((ahead_s, began + ahead_s, time.time() + ahead_s))

    try:
        gateway.start()
        for client in clients:
            client.start()
        for ahead_s in (0, -HOUR_S, DAY_S, 0):
            serve(ahead_s)
        for ahead_s in (DAY_S, -HOUR_S, 0):
            gateway.stop()
            clock.set(ahead_s)
            gateway.start()
            serve(ahead_s)
        for client in clients:
            client.over.set()
        for client in clients:
            client.join(30)
        gateway.stop()
        # What the stop left is converted after the next start.
        gateway.start()
        assert wait_until(lambda: len(converted(gateway)) >= len(ledger.acknowledged), 20)
        gateway.stop()
        assert not ledger.wrong, ledger.wrong[:5]

        rows = converted(gateway)
        ids = [record_id for record_id, _, _ in rows]
        assert len(ids) == len(set(ids)), "every id is given once"
        missing = ledger.acknowledged.keys() - set(ids)
        assert not missing, f"{len(missing)} of {len(ledger.acknowledged)} acknowledged records are missing"
        numbers = [lsn for _, lsn, _ in rows]
        assert all(a < b for a, b in zip(numbers, numbers[1:])), "numbers go on, whatever the clock says"
        # An id begins with the time of its record, in milliseconds.
        assert all(int(i.replace("-", "")[:12], 16) == ts_us // 1000 for i, _, ts_us in rows)
        for ahead_s, since, until in phases:
            there = sum(since * 1e6 <= ts_us <= until * 1e6 for _, _, ts_us in rows)
            assert there > 100, f"{there} rows of the time when the clock was {ahead_s} s ahead"
        verified = subprocess.run(
            [binary(), "log", "-c", str(gateway.config), "verify"], capture_output=True, text=True
        )
        assert verified.returncode == 0, verified.stdout + verified.stderr
    finally:
        for client in clients:
            client.over.set()
        if gateway.process:
            gateway.kill()
        backend.stop()


def test_restarts_under_a_clock_that_is_months_ahead_remove_nothing(tmp_path):
    backend, ledger = Backend(), Ledger("os")
    try:
        clock = Clock(tmp_path / "clock")
    except (RuntimeError, subprocess.CalledProcessError) as error:
        pytest.skip(f"CLOCK TEST NOT RUN: {error}")
    gateway = Gateway(tmp_path / "gateway", CONFIG.format(models=MODELS, backend=backend.port))
    gateway.environment = clock.environment
    client = Client(ledger, gateway.port, "c0", 0)

    def serve():
        before = len(ledger.acknowledged)
        assert wait_until(lambda: len(ledger.acknowledged) > before + 150, 30)
        # Segments are closed and converted, and retention looks.
        time.sleep(3)

    try:
        gateway.start()
        client.start()
        serve()
        for _ in range(3):
            gateway.kill()
            # Each start makes a segment whose header tells the wrong time.
            clock.set(MONTHS_S)
            gateway.start()
            serve()
        client.over.set()
        client.join(30)
        gateway.stop()
        gateway.start()
        found = lambda: {record_id for record_id, _, _ in converted(gateway)}
        assert wait_until(lambda: ledger.acknowledged.keys() <= found(), 20), (
            f"{len(ledger.acknowledged.keys() - found())} of {len(ledger.acknowledged)} acknowledged records are missing"
        )
        gateway.stop()
        assert not ledger.wrong, ledger.wrong[:5]
    finally:
        client.over.set()
        if gateway.process:
            gateway.kill()
        backend.stop()
