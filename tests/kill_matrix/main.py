"""`tests/kill-matrix`: the schedule of kills and the table.

Every round lets clients work for a random time and kills the gateway with SIGKILL: while it serves, again
while it recovers from the last kill, or while it writes a Parquet file. It is started on the same files
each time. At the end it is stopped properly, and the files are compared with the clients' ledger.

A variant runs with so small a limit that retention removes all the time, with a sink that takes nothing,
and with a clock that runs 600 times as fast, so that hours end and their files are merged.
"""

import argparse
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "clients")]

from backend import Backend  # noqa: E402
from check import check  # noqa: E402
from clock import Clock  # noqa: E402
from gateway import MODELS, Gateway, binary  # noqa: E402
from ledger import Client, Ledger, wait_until  # noqa: E402
from retained import SINK, Retained  # noqa: E402

SHOWN = 10
# So many times the rounds that were asked for, where retention had nothing to do in those.
SLOWER = 5

# Small and short-lived segments, so that closing, converting and recycling happen under the kills.
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
durability = "{mode}"
segment = "1MiB"
segment_age = "500ms"
{limits}
[log.parquet]
cpu = "100%"
{sinks}
"""

# The limits of the variant. What clients send in a round is less than half of it.
TIGHT = {"limits": 'retain = "16MiB"', "sinks": f'[sinks.{SINK}]\nhttp = "http://127.0.0.1:1/"'}
FREE = {"limits": "", "sinks": ""}
CLOCK_RATE = 600


class Victim(Gateway):
    """A gateway that is killed often."""

    def __init__(self, directory, mode, backend, retaining):
        self.retaining = retaining
        limits = TIGHT if retaining else FREE
        super().__init__(directory, CONFIG.format(models=MODELS, backend=backend.port, mode=mode, **limits))
        if retaining:
            clock = Clock(self.directory / "clock")
            clock.set(rate=CLOCK_RATE)
            self.environment = clock.environment
        self.data = self.directory / "data"
        self.binary = binary()
        known = subprocess.run([self.binary, "log", "--help"], capture_output=True, text=True).stdout
        # Before there is `query`, the segments are all there is.
        self.everything = ["query"] if " query " in known else ["tail", "-n", "1000000000"]
        self.verifies = " verify " in known

    def spawn(self):
        """Starts the process and waits for nothing."""
        with open(self.directory / "output", "ab") as output:
            self.process = subprocess.Popen(
                [self.binary, "run", "-c", str(self.config)],
                stdout=output, stderr=output, env={**os.environ, **self.environment},
            )

    def converts(self):
        """Whether a Parquet file is being written."""
        return any((self.data / "parquet.work").glob("*.tmp"))

    def merges(self):
        """Whether the files of an hour are being merged."""
        return (self.data / "parquet.work" / "merge").exists()

    def is_converted(self):
        """Whether all that was written has become Parquet."""
        try:
            slots = struct.iter_unpack("<8sQQ8x", (self.data / "log" / "cursors" / "parquet").read_bytes())
            position = max((turn, position) for magic, turn, position in slots if magic == b"PNTSMCUR")[1]
        except (OSError, ValueError, struct.error):
            return False
        return position >= max((int(file.name[:20]) for file in (self.data / "log").glob("*.seg")), default=0)


def one_round(victim, ledger, chance, seconds, last):
    """Serves for a while and is killed; returns how it was killed. `last` is how it was the last time."""
    before = len(ledger.acknowledged)
    victim.spawn()
    if last == "idle":
        # Now there is time to merge, before the load comes back.
        merges = wait_until(victim.merges, 3)
        ledger.paused.clear()
        if merges:
            victim.kill()
            return "merging"
    # Now and then before it has recovered from the last time, and often twice or more in a row.
    if chance.random() < (0.5 if last == "recovering" else 0.15):
        time.sleep(chance.uniform(0, 0.08))
        victim.kill()
        return "recovering"
    served = wait_until(lambda: len(ledger.acknowledged) > before or victim.process.poll() is not None, 30)
    if not served or victim.process.poll() is not None:
        raise SystemExit(f"it does not serve after round {ledger.round}:\n{victim.output()[-4000:]}")
    time.sleep(chance.uniform(0, 2 * seconds))
    how = "serving"
    if chance.random() < 0.4 and wait_until(victim.converts, 0.7):
        how = "converting"
    if victim.retaining and chance.random() < 0.5:
        ledger.paused.set()
        how = "idle" if wait_until(victim.is_converted, 10) else how
        if how != "idle":
            ledger.paused.clear()
    victim.kill()
    return how


def run_mode(mode, runs, seconds, seed, folder, retaining=False):
    """All rounds of one mode; the row of the table, and whether everything is well."""
    began = time.monotonic()
    name = f"{mode}, tight" if retaining else mode
    chance = random.Random(f"{seed}-{name}")
    backend, ledger = Backend(), Ledger(mode)
    if retaining:
        # So that a round writes less than retention leaves.
        ledger.rest_s = 0.004
    victim = Victim(folder / name.replace(", ", "-"), mode, backend, retaining)
    retained = Retained() if retaining else None
    count = 3 if retaining else 6
    clients = [Client(ledger, victim.port, f"{mode}{n}", f"{seed}-{mode}-{n}") for n in range(count)]
    kills, how = Counter(), None
    try:
        for client in clients:
            client.start()
        number = 0
        # On a slow machine it takes more rounds until there is enough for retention to remove.
        while number < runs or (retained and not retained.has_acted() and number < SLOWER * runs):
            ledger.round = number
            how = one_round(victim, ledger, chance, seconds, how)
            kills[how] += 1
            number += 1
            if retained:
                retained.look(victim, ledger.names(), f"kill {number}")
            progress(f"{name}: {number}/{runs} kills, {len(ledger.acknowledged)} acknowledged")
        ledger.round = number
        ledger.paused.clear()
        victim.start()
        before = len(ledger.acknowledged)
        served = wait_until(lambda: len(ledger.acknowledged) > before + 20, 20)
        for client in clients:
            client.over.set()
        for client in clients:
            client.join(30)
        victim.stop()
        if not served:
            ledger.wrong.append("nothing is served after the last kill")
        if retained:
            retained.look(victim, ledger.names(), "at the end")
            retained.finish(victim)
        verdict = check(ledger, victim, retained)
    finally:
        for client in clients:
            client.over.set()
        if victim.process:
            victim.kill()
        backend.stop()
    progress("")
    report(name, "wrong answer", ledger.wrong)
    report(name, "missing", verdict.missing)
    report(name, "duplicate", verdict.duplicates)
    report(name, "foreign", verdict.foreign)
    report(name, "not a row", verdict.other)
    wrong = list(ledger.wrong)
    if retained:
        if not retained.has_acted():
            wrong.append(f"{len(retained.skipped)} skips, {retained.merged} merges, {verdict.retained} records gone")
        report(name, "retention", retained.problems + wrong[len(ledger.wrong) :])
        wrong += retained.problems
    row = (
        name, number, kills["recovering"], kills["converting"], kills["merging"], len(ledger.acknowledged), verdict.found,
        verdict.retained, retained.merged if retained else 0, len(verdict.missing), len(verdict.duplicates), len(verdict.foreign), ledger.refused,
        ledger.unanswered, verdict.in_parquet, verdict.in_segments, round(time.monotonic() - began),
    )
    return row, verdict.is_clean() and not wrong


TITLES = (
    "mode", "kills", "recovering", "converting", "merging", "acknowledged", "found", "retained", "merges", "missing", "duplicates", "foreign",
    "refused", "unanswered", "parquet", "segments", "seconds",
)


def report(mode, what, findings):
    for finding in findings[:SHOWN]:
        print(f"{mode}: {what}: {finding}"[:600])
    if len(findings) > SHOWN:
        print(f"{mode}: {what}: and {len(findings) - SHOWN} more")


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def table(rows):
    columns = list(zip(TITLES, *rows))
    widths = [max(len(str(cell)) for cell in column) for column in columns]
    for cells in zip(*columns):
        print("  ".join(str(cell).rjust(width) for cell, width in zip(cells, widths)))


def main():
    parser = argparse.ArgumentParser(prog="tests/kill-matrix", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, help="kills of each mode")
    parser.add_argument("--modes", default="os,sync", help="modes of durability, with commas between them")
    parser.add_argument("--tight", type=int, help="kills of each mode with retention and merging; a fifth of --runs")
    parser.add_argument("--seconds", type=float, default=0.4, help="mean time of serving before a kill")
    parser.add_argument("--seed", type=int, help="repeats the schedule of an earlier run")
    parser.add_argument("--keep", action="store_true", help="keep the files, also when all is well")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="kill-matrix-", dir=os.environ.get("TMPDIR")))
    modes = options.modes.split(",")
    results = [run_mode(mode, options.runs, options.seconds, seed, folder) for mode in modes if options.runs]
    tight = options.tight if options.tight is not None else -(-options.runs // 5)
    results += [run_mode(mode, tight, options.seconds, seed, folder, retaining=True) for mode in modes if tight]
    table([row for row, _ in results])
    clean = all(well for _, well in results)
    if clean and not options.keep:
        shutil.rmtree(folder)
    else:
        print(f"files: {folder}")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
