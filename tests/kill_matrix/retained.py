"""What retention took from a log, told exactly: from what was in the files after every kill.

A record that a client was promised must be in the files after the kill that ended its round. Later it may
be gone, but only in the order in which retention removes Parquet files: everything that is left comes after
it. A sink that takes nothing is skipped over each segment that goes: its gap rows must name all numbers
before the oldest segment, and no others.
"""

import json
import subprocess
from pathlib import Path

import duckdb

# The name of the sink that takes nothing.
SINK = "dead"
HOUR_US = 3_600_000_000


class Retained:
    """What was seen of one log, and what is wrong with it."""

    def __init__(self):
        self.known = {}  # record id -> (hour, log sequence number)
        self.present = set()
        self.skipped = set()  # pairs of numbers
        self.files = set()
        self.merged = 0
        self.problems = []

    def look(self, gateway, acknowledged, when):
        """Takes in what the files hold now that nobody writes them."""
        parquet, segments = self._parquet(gateway.data / "parquet"), self._segments(gateway)
        self.present = parquet.keys() | segments.keys()
        for name in acknowledged - self.known.keys() - self.present:
            self.problems.append(f"{when}: {name} was acknowledged and never seen")
        gone = self.known.keys() - self.present
        # The hours go oldest first, and in each the lower numbers. What became Parquet is read there alone.
        begin = min(parquet.values(), default=(0, 0))
        if gone and (last := max(self.known[name] for name in gone)) >= begin:
            self.problems.append(f"{when}: {last} is gone, and the Parquet files begin with {begin}")
        self.known.update(segments)
        self.known.update(parquet)

    def has_acted(self):
        """Whether retention has removed records, skipped the sink and followed a merge so far."""
        return bool(self.skipped and self.merged and self.known.keys() - self.present)

    def finish(self, gateway):
        """The last check: all that the sink misses was told, and no more than that."""
        told = 0
        for first, last in sorted(self.skipped):
            if first > told + 1:
                self.problems.append(f"no gap row tells of the numbers {told + 1} to {first - 1}")
            told = max(told, last)
        oldest = oldest_segment(gateway.data / "log")
        if told != oldest - 1:
            self.problems.append(f"gap rows tell of numbers up to {told}, and the segments begin with {oldest}")

    def excuses(self, name):
        """Whether a record was there, and is gone. That it may be is checked in `look` and `finish`."""
        return name in self.known and name not in self.present

    def _parquet(self, folder):
        files = {tuple(file.relative_to(folder).parts) for file in folder.rglob("*.parquet")}
        for day, hour, name in files - self.files:
            first, last = name.removesuffix(".parquet").split("-")
            parts = [n for d, h, n in self.files if (d, h) == (day, hour) and first <= n[:20] and n[21:41] <= last]
            self.merged += len(parts) > 1
        self.files = files
        if not files:
            return {}
        source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning=true)"
        rows = duckdb.connect().execute(
            f"select record_id, epoch_us(ts), lsn, kind, gap_consumer, gap_reason, gap_first_lsn, gap_last_lsn from {source}"
        )
        return self._take(rows.fetchall())

    def _segments(self, gateway):
        command = [gateway.binary, "log", "-c", str(gateway.config), "tail", "-n", "1000000000", "--format", "json"]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if printed.returncode != 0:
            self.problems.append(f"log tail: exit code {printed.returncode}: {printed.stderr}")
        lines = map(json.loads, printed.stdout.splitlines())
        return self._take(
            (
                row.get("record_id"), micros(row.get("ts")), row.get("lsn"), row.get("kind"), row.get("gap_consumer"),
                row.get("gap_reason"), row.get("gap_first_lsn"), row.get("gap_last_lsn"),
            )
            for row in lines
        )

    def _take(self, rows):
        found = {}
        for record_id, ts_us, lsn, kind, consumer, reason, first, last in rows:
            if kind == "inference":
                found[str(record_id).replace("-", "")] = (ts_us // HOUR_US, lsn)
            elif kind == "gap" and reason == "skipped" and consumer == SINK:
                self.skipped.add((first, last))
            elif kind == "gap":
                self.problems.append(f"a gap row that retention does not explain: {reason} {first} {last} {consumer}")
        return found


def micros(ts):
    """Microseconds of a time as `log tail` prints it."""
    from datetime import datetime

    if ts is None:
        return 0
    at = datetime.fromisoformat(ts.replace("Z", "+00:00"))
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def oldest_segment(folder):
    """The number in the name of the oldest segment."""
    return min((int(file.name[:20]) for file in Path(folder).glob("*.seg")), default=1)
