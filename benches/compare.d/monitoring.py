"""What monitoring costs: the same gateway with its monitor on and off, taking turns.

Proxied with twenty features in each request, and iris in process with its four inputs and its scores.
Bodies of proxied versions are looked into as far as `monitor.cpu` goes: of a burst as many as wait, of a load that lasts
the share that was chosen for the minute. So these are measured in their first minute and, with `--only monitor`, after it.
"""

import json

from load import median, over, table
from servers import MODEL, REPLY, ask, nginx, pointsman, say, stop_all

FEATURES = 20

# A share is chosen for the minute after the one that has begun when a minute is closed.
SETTLED = 190


def numeric(name):
    edges = [round(0.1 * at, 1) for at in range(1, 60)]
    return {"name": name, "kind": "numeric", "edges": edges, "mass": [1 / 60] * 60}


def baseline(features, outputs):
    classes = {"kind": "categorical", "values": ["0", "1", "2"], "mass": [0.3, 0.3, 0.4]}
    return {
        "format": 1, "model": "iris", "version": "v1", "n": 10000,
        "features": [numeric(name) for name in features],
        "outputs": [{**classes, "name": name} if name.endswith("class") else numeric(name) for name in outputs],
    }


def kept(bench, name, content):
    """A data directory that has the baseline already."""
    data = bench.scratch / f"data-{name}"
    folder = data / "state" / "monitor" / "baselines"
    folder.mkdir(parents=True)
    (folder / "iris@v1.json").write_text(json.dumps(content))
    return data


def wide():
    values = [round(0.05 + 0.29 * at, 2) for at in range(FEATURES)]
    tensor = {"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": values}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":"))


def cost(bench, what, body, version, content, bound):
    bench.body.write_text(body)
    servers = []
    for name, enabled in ((f"{what}, off", "false"), (f"{what}, on", "true")):
        data = kept(bench, name.replace(", ", "-").replace(" ", "-"), content)
        values = {"MONITOR": enabled, "DATA": data, "VERSION": version}
        server = pointsman(bench, name, "monitor.toml", **values).wait_ready()
        bench.wrk(server.port, 1)
        servers.append(server)

    def measured(server):
        before = server.thread_cpu("worker"), server.thread_cpu("monitor")
        row = bench.measure(server)
        workers, monitor = server.thread_cpu("worker") - before[0], server.thread_cpu("monitor") - before[1]
        per_request = 1e6 / row["requests"]
        return {**row, "workers": workers * per_request, "monitor": monitor * per_request}

    word = what.split(",")[0].lower().replace(" ", "_")
    compared(bench, what, word, bench.rounds(servers, measured), bound)
    if bench.options.only == "monitor" and "backends" in version:
        # The one that is off as well: its log has to be as long.
        for server in servers:
            bench.wrk(server.port, SETTLED)
        compared(bench, f"{what}, a load that lasts", f"{word}_lasting", bench.rounds(servers, measured), bound)
    text = ask(servers[1].admin, "GET", "/metrics")[1].decode()
    for line in text.splitlines():
        if line.startswith(("pointsman_monitor_sampled", "pointsman_monitor_seen", "pointsman_monitor_memory_bytes")):
            say(f"  {line}")
    stop_all()


def compared(bench, what, word, results, bound):
    header = ["", "process us/req", "workers us/req", "monitor us/req", "req/s", "p50 us", "p99 us"]
    rows = [
        [name, *(f"{median(runs, key):.2f}" for key in ("cpu", "workers", "monitor")),
         *(f"{median(runs, key):.0f}" for key in ("rps", "p50", "p99"))]
        for name, runs in results.items()
    ]
    table(f"The monitor: {what} (wrk, 32 connections)", header, rows)
    off, on = results
    bench.ratio(f"monitor_{word}_cpu", over(results, off, on, "cpu"), 1 / (1 + bound))
    bench.ratio(f"monitor_{word}_throughput", over(results, on, off, "rps"), 1 / (1 + bound))


def monitoring(bench, small):
    upstream = nginx(bench, "backend", "upstream.conf", REPLY=REPLY)
    features = [f"input[{at}]" for at in range(FEATURES)]
    scores = [f"probabilities.{what}" for what in ("top_score", "top_class", "margin", "entropy")]
    proxied = f'backends = ["http://127.0.0.1:{upstream.port}"]'
    cost(bench, "Proxied, 20 features", wide(), proxied, baseline(features, scores), 0.03)
    inside = f'onnx = "{MODEL}"'
    cost(bench, "In process, 4 features and scores", small, inside, baseline(features[:4], scores), 0.05)
