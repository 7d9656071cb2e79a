"""What the life cycle costs: switches between versions under load, and tables of many versions.

Never compares with anyone else: nobody else has a life cycle of versions.
"""

import http.client
import json
import shutil
import threading
import time

from load import median, over, table
from servers import BODY, MODEL, PATH, REPLY, ask, left_out, must_answer, nginx, pointsman, say, stop_all

# Switches over all rounds.
SWITCHES = 1000
# The most that switching may add to the p99, in microseconds.
ADDED_P99_US = 1000
# Versions of the large tables.
MANY = 10_000
# Of so many models each.
MODELS = 100
# Model directories that the versions at rest lie in.
STORES = 4
# The most that a table of many versions may take off the throughput.
LOSS_MAX = 0.05
# The most that versions at rest may take of a core.
REST_MAX = 0.02
# Seconds over which a gateway at rest is watched.
REST_S = 10


def version(number):
    """The iris model under another content: `doc_string` (field 6) says which."""
    text = f"v{number}".encode()
    return MODEL.read_bytes() + bytes([0x32, len(text)]) + text


def order(server, path):
    """Gives an order that must be carried out."""
    body = json.dumps({"who": "compare", "why": "a benchmark"})
    status, answer = ask(server.admin, "POST", f"/api/v1/{path}", body, timeout=30)
    if status != 200:
        raise SystemExit(f"{server.name}: {path} answers {status}: {answer[:500]!r}")


def stage(server, name):
    """Where a version is, and why."""
    status, answer = ask(server.admin, "GET", f"/api/v1/models/iris/versions/{name}", timeout=30)
    shown = json.loads(answer) if status == 200 else {}
    return shown.get("stage"), shown.get("why")


def wait_for(server, name, *stages, seconds=120):
    """Waits until a version is at one of `stages`."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        last = stage(server, name)
        if last[0] in stages:
            return
        time.sleep(0.1)
    raise SystemExit(f"{server.name}: {name} is not {' or '.join(stages)}: {last}\n{server.log.read_text()[-2000:]}")


class Switching:
    """Makes one of two versions live after the other, at a steady pace, until it is ended."""

    def __init__(self, server, pace):
        self.server, self.pace, self.over = server, pace, threading.Event()
        self.made, self.stale, self.failure = 0, 0, None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        client = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        begin = time.monotonic()
        try:
            while not self.over.wait(max(begin + self.made * self.pace - time.monotonic(), 0)):
                shown, name = self.live(client), None
                name = "v1" if shown == "v2" else "v2"
                order(self.server, f"models/iris/versions/{name}/promote")
                self.made += 1
                # Requests that come after the answer follow it.
                self.stale += self.live(client) != name
        except (OSError, SystemExit, http.client.HTTPException) as error:
            self.failure = error
        finally:
            client.close()

    def live(self, client):
        client.request("POST", PATH, BODY, {"Content-Type": "application/json"})
        response = client.getresponse()
        response.read()
        return response.getheader("x-pointsman-version") if response.status == 200 else None

    def end(self):
        self.over.set()
        self.thread.join()
        if self.failure:
            raise SystemExit(f"a switch failed: {self.failure}")


def switches(bench):
    files = []
    for number in (1, 2):
        path = bench.scratch / f"v{number}.onnx"
        path.write_bytes(version(number))
        files.append(path)
    server = pointsman(bench, "switches", "releases.toml", V1=files[0], V2=files[1]).wait_ready()
    # The newer one is live at once; the other one is tried by order, so that it is loaded as well.
    wait_for(server, "v2", "live")
    wait_for(server, "v1", "retired")
    order(server, "models/iris/versions/v1/restore")
    wait_for(server, "v1", "shadow", "canary")
    order(server, "models/iris/versions/v1/promote")
    bench.wrk(server.port, 1)
    seen = {"made": 0, "stale": 0, "failed": 0}
    pace = bench.options.seconds * bench.options.rounds / SWITCHES
    measures = [bench.measure]
    if shutil.which("oha"):
        measures.append(bench.measure_rate)
    else:
        left_out("latency of switches at a constant rate: oha is not installed")

    def with_load(how, what):
        if not how:
            return what(server)
        switching = Switching(server, pace)
        try:
            return what(server)
        finally:
            switching.end()
            seen["made"] += switching.made
            seen["stale"] += switching.stale

    ours = {"still": [], "switching": []}
    rate = {"still": [], "switching": []}
    wrk = bench.wrk

    def counted(port, seconds):
        result = wrk(port, seconds)
        seen["failed"] += result["bad_status"] + result["socket_errors"]
        return result

    bench.wrk = counted
    try:
        for number in range(bench.options.rounds):
            for name in ("still", "switching") if number % 2 == 0 else ("switching", "still"):
                ours[name].append(with_load(name == "switching", bench.measure))
        while seen["made"] < SWITCHES:
            with_load(True, bench.measure)
        for number in range(bench.options.rounds if len(measures) > 1 else 0):
            for name in ("still", "switching") if number % 2 == 0 else ("switching", "still"):
                rate[name].append(with_load(name == "switching", bench.measure_rate))
                seen["failed"] += rate[name][-1]["bad"]
    finally:
        bench.wrk = wrk
    header = ["", "CPU us/req", "req/s", "p50 us", "p99 us", "p99.9 us"]
    rows = [
        [name, f"{median(runs, 'cpu'):.1f}", *(f"{median(runs, key):.0f}" for key in ("rps", "p50", "p99", "p999"))]
        for name, runs in [*ours.items(), *((f"{name}, constant rate", runs) for name, runs in rate.items())]
        if runs
    ]
    title = f"{seen['made']} switches between two versions of iris under load, {1 / pace:.0f} a second"
    table(title, header, rows)
    say(f"  failed requests: {seen['failed']}; requests after an answer that it did not reach: {seen['stale']}")
    bench.ratio("releases_switch_failed_vs_0", [1 / (1 + seen["failed"])], 1)
    bench.ratio("releases_switch_stale_vs_0", [1 / (1 + seen["stale"])], 1)
    best = rate if rate["still"] else ours
    added = median(best["switching"], "p99") - median(best["still"], "p99")
    say(f"  p99 that switching adds{' at a constant rate' if best is rate else ''}: {added:.0f} us")
    bench.ratio("releases_switch_added_p99_vs_1ms", [ADDED_P99_US / max(added, 1)], 1)
    bench.ratio("releases_switch_p99", over(best, "still", "switching", "p99"), None)
    bench.ratio("releases_switch_throughput", over(ours, "switching", "still", "rps"), None)
    server.stop()


def many_versions(bench):
    upstream = nginx(bench, "backend", "upstream.conf", REPLY=REPLY)
    servers = []
    for count in (1, MANY):
        # The others lie beside the one that is asked: in the same table, of as many models.
        others = [
            f'[models.m{number % MODELS:03}.versions.v{number}]\nbackends = ["http://127.0.0.1:{upstream.port}"]\n'
            for number in range(1, count)
        ]
        # Of each model all traffic goes to its first version.
        firsts = range(1, min(count, MODELS + 1))
        others += [f'[models.m{at % MODELS:03}]\ntraffic = {{ v{at} = "100%" }}\n' for at in firsts]
        name = "1 version" if count == 1 else f"{count} versions"
        begin = time.monotonic()
        server = pointsman(bench, name, "versions.toml", UPSTREAM=upstream.port, OTHERS="".join(others))
        server.wait_ready(300)
        say(f"  {name}: ready after {time.monotonic() - begin:.1f} s, {server.rss_mib():.0f} MiB")
        must_answer(server, json.loads(REPLY)["outputs"])
        bench.wrk(server.port, 1)
        servers.append(server)
    results = bench.rounds(servers, bench.measure)
    header = ["", "CPU us/req", "req/s", "p50 us", "p99 us"]
    rows = [
        [name, f"{median(runs, 'cpu'):.1f}", *(f"{median(runs, key):.0f}" for key in ("rps", "p50", "p99"))]
        for name, runs in results.items()
    ]
    table(f"A table of {MANY} versions against one with 1 (wrk, 32 connections)", header, rows)
    few, many = (server.name for server in servers)
    bench.ratio("releases_table_throughput", over(results, many, few, "rps"), 1 - LOSS_MAX)
    bench.ratio("releases_table_cpu", over(results, few, many, "cpu"), 1 - LOSS_MAX)
    stop_all()


def at_rest(bench):
    """CPU of a gateway that has many versions in its life cycle and nothing to do."""
    store = bench.scratch / "store"
    for number in range(1, MANY + 1):
        # A source lists at most 4096 versions.
        folder = store / str(number % STORES) / "iris" / f"v{number}"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(version(number))
    sources = [f'[discovery.store{at}]\ndirectory = "{store / str(at)}"\nsettle = "0s"\n' for at in range(STORES)]
    server = pointsman(bench, "at rest", "rest.toml", SOURCES="".join(sources)).wait_ready(120)
    begin = time.monotonic()
    wait_for(server, f"v{MANY}", "live", "validating", "warming", seconds=600)
    order(server, f"models/iris/versions/v{MANY}/approve")
    wait_for(server, f"v{MANY}", "live", seconds=600)
    wait_for(server, "v1", "retired", seconds=600)
    settled = time.monotonic() - begin
    # What remains of the others may still be on its way.
    while True:
        text = ask(server.admin, "GET", "/metrics", timeout=30)[1].decode()
        name = 'pointsman_release_versions{model="iris",stage="retired"} '
        retired = next((line for line in text.splitlines() if line.startswith(name)), f"{name}0")
        if float(retired.rpartition(" ")[2]) >= MANY - 1 or time.monotonic() - begin > 600:
            break
        time.sleep(1)
    time.sleep(5)
    before, user = sum(server.cpu()), server.thread_cpu("pointsman")
    time.sleep(REST_S)
    share = (sum(server.cpu()) - before) / REST_S
    loop = (server.thread_cpu("pointsman") - user) / REST_S
    say(
        f"\n{MANY} versions of one model in the life cycle: live after {settled:.1f} s; at rest {share:.2%} of a core, "
        f"{loop:.2%} of it the life cycle with discovery; {server.rss_mib():.0f} MiB"
    )
    bench.ratio("releases_rest_vs_2_percent", [REST_MAX / max(share, 1e-4)], 1)
    server.stop()


def life_cycle(bench):
    switches(bench)
    many_versions(bench)
    at_rest(bench)
    stop_all()
