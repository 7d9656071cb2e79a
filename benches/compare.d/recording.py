"""What recording costs: one proxy, five ways to keep its records, taking turns.

Never compares with anyone else: nobody else keeps both bodies before the answer leaves.
"""

import json
import shutil
import statistics
import threading
import time

from load import median, over, table
from servers import REPLY, ask, left_out, nginx, pointsman, recorded, say, stop_all

# Bytes of each body, request and response.
SIZE = 1024
# The bound on resident memory at full load.
RSS_MIB_MAX = 160
CONTENDERS = [
    # name, durability, Parquet
    ("off", "off", False),
    ("async", "async", False),
    ("os", "os", False),
    ("sync", "sync", False),
    ("async, Parquet", "async", True),
]


def padded(text, size):
    """The JSON object with a parameter that brings it to `size` bytes."""
    bare = json.loads(text)
    bare["parameters"] = {"note": ""}
    short = json.dumps(bare, separators=(",", ":"))
    bare["parameters"]["note"] = "x" * (size - len(short))
    return json.dumps(bare, separators=(",", ":"))


class Peak:
    """The largest resident memory of a server while it is measured."""

    def __init__(self, server):
        self.server, self.mib, self.over = server, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.over.wait(0.1):
            self.mib = max(self.mib, self.server.rss_mib())

    def end(self):
        self.over.set()
        self.thread.join()
        return self.mib


def log_recording(bench, small):
    """`small` is the body of the other comparisons; here both bodies have `SIZE` bytes."""
    bench.body.write_text(padded(small, SIZE))
    upstream = nginx(bench, "backend", "upstream.conf", REPLY=padded(REPLY, SIZE))
    servers = []
    for name, durability, parquet in CONTENDERS:
        values = {"DURABILITY": durability, "PARQUET": str(parquet).lower(), "UPSTREAM": upstream.port}
        server = pointsman(bench, name, "log.toml", **values).wait_ready()
        bench.wrk(server.port, 1)
        servers.append(server)

    def measured(server):
        before, peak = server.thread_cpu("worker"), Peak(server)
        row = bench.measure(server)
        workers = server.thread_cpu("worker") - before
        return {**row, "workers": workers * 1e6 / row["requests"], "rss": peak.end()}

    results = bench.rounds(servers, measured)
    header = ["", "workers us/req", "process us/req", "req/s", "p50 us", "p99 us", "peak RSS MiB"]
    rows = [
        [name, *(f"{median(runs, key):.1f}" for key in ("workers", "cpu")),
         *(f"{median(runs, key):.0f}" for key in ("rps", "p50", "p99")), f"{max(r['rss'] for r in runs):.0f}"]
        for name, runs in results.items()
    ]
    table(f"Proxied POST, {SIZE} bytes each way, every exchange recorded (wrk, 32 connections)", header, rows)
    bench.ratio("log_async_workers_cpu", over(results, "off", "async", "workers"), 1 / 1.05)
    bench.ratio("log_async_process_cpu", over(results, "off", "async", "cpu"), 1 / 1.12)
    bench.ratio("log_os_process_cpu", over(results, "off", "os", "cpu"), 1 / 1.20)
    bench.ratio("log_sync_process_cpu", over(results, "off", "sync", "cpu"), None)
    bench.ratio("log_sync_throughput_vs_async", over(results, "sync", "async", "rps"), 0.5)
    bench.ratio("log_parquet_process_cpu", over(results, "async", "async, Parquet", "cpu"), None)
    most = max(row["rss"] for runs in results.values() for row in runs)
    bench.ratio(f"log_rss_vs_{RSS_MIB_MAX}mib", [RSS_MIB_MAX / most], 1)
    for server in servers[1:]:
        recorded(server)
        groups(server)
    parquet_backlog(servers[-1])
    if shutil.which("oha"):
        half_load(bench, servers, results)
    else:
        left_out("latency at half load: oha is not installed")
    stop_all()


def metric(server, name):
    """The value of a metric without labels."""
    text = ask(server.admin, "GET", "/metrics")[1].decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.split()[:1] == [name])


def groups(server):
    """Says how many records were written at once, and what a sync took."""
    size = metric(server, "pointsman_log_group_records_total") / metric(server, "pointsman_log_groups_total")
    syncs = metric(server, "pointsman_log_sync_seconds_count")
    took = metric(server, "pointsman_log_sync_seconds_sum") / max(syncs, 1)
    say(f"  {size:.1f} records a group; {syncs:.0f} syncs of {took * 1e6:.0f} us")


def parquet_backlog(server):
    """Says how far the conversion was behind at the end of the load, and when it had caught up."""
    begin, first, backlog = time.monotonic(), None, 0
    while time.monotonic() - begin < 120:
        backlog = metric(server, "pointsman_parquet_backlog_bytes")
        first = backlog if first is None else first
        if backlog == 0:
            break
        time.sleep(0.5)
    waited = time.monotonic() - begin
    say(f"Parquet: {first / 2**20:.0f} MiB behind at the end of the load, {backlog / 2**20:.0f} MiB after {waited:.1f} s")
    gaps, rows = (metric(server, f"pointsman_{name}_total") for name in ("log_gap_rows", "parquet_rows"))
    say(f"Parquet: {rows:.0f} rows converted, {gaps:.0f} gap rows about what was shed")


def half_load(bench, servers, results):
    """Latency of each durability at half of what `sync` can do."""
    rate = int(median(results["sync"], "rps") / 2)
    latencies = bench.rounds(servers, lambda server: bench.oha(server.port, rate))
    header = ["", "p50 us", "p99 us", "p99.9 us", "req/s"]
    rows = [
        [name, *(f"{median(runs, key):.0f}" for key in ("p50", "p99", "p999", "rps"))]
        for name, runs in latencies.items()
    ]
    table(f"The same at half of the load that sync takes, {rate} requests/s (oha, 32 connections)", header, rows)
    added = [a["p99"] - b["p99"] for a, b in zip(latencies["sync"], latencies["off"])]
    say(f"p99 added by sync at half load: {statistics.median(added):.0f} us")
