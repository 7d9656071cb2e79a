"""Load, and what it shows: the generators, counting system calls, tables and ratios.

Never starts a contender.
"""

import json
import re
import shutil
import signal
import statistics
import subprocess
import time
from pathlib import Path

from servers import BODY, PARTS, PATH, die_with_parent, left_out, run, say

CONNECTIONS = 32
RATE = 5000


class Bench:
    """The options, the scratch directory, and the load generators."""

    def __init__(self, options, scratch):
        self.options, self.scratch = options, Path(scratch)
        self.body = self.scratch / "body.json"
        self.body.write_bytes(BODY)
        self.ratios = []

    def directory(self, name):
        path = self.scratch / name
        path.mkdir()
        return str(path)

    def wrk(self, port, seconds):
        url = f"http://127.0.0.1:{port}{PATH}"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s"]
        text = run(command + ["-s", str(PARTS / "post.lua"), url, str(self.body)], seconds + 30)
        found = re.search(r"^RESULT (.*)$", text, re.M)
        if not found:
            raise SystemExit(f"wrk failed:\n{text}")
        result = json.loads(found[1])
        if result["bad_status"] or result["socket_errors"] or not result["requests"]:
            say(f"!! ERRORS under load: {result}")
        return result

    def measure(self, server):
        """One run of wrk, with what it cost the server."""
        before = server.cpu()
        result = self.wrk(server.port, self.options.seconds)
        time.sleep(0.05)  # lets what is written after the response count as well
        after = server.cpu()
        user, system = (b - a for a, b in zip(before, after))
        per_request = 1e6 / max(result["requests"], 1)
        return {
            "rps": result["requests"] / (result["us"] / 1e6),
            "requests": max(result["requests"], 1),
            "cpu": (user + system) * per_request,
            "user": user * per_request,
            "p50": result["p50_us"],
            "p99": result["p99_us"],
            "p999": result["p999_us"],
        }

    def oha(self, port, rate=RATE):
        """Latencies in microseconds at a constant rate, and how many requests failed (`bad`)."""
        command = ["oha", "--no-tui", "--output-format", "json", "--latency-correction", "-w"]
        command += ["-q", str(rate), "-c", str(CONNECTIONS), "-z", f"{self.options.seconds}s"]
        command += ["-m", "POST", "-T", "application/json", "-D", str(self.body)]
        text = run(command + [f"http://127.0.0.1:{port}{PATH}"], self.options.seconds + 30)
        try:
            result = json.loads(text[text.index("{") :])
            at = {name: value * 1e6 for name, value in result["latencyPercentiles"].items()}
            bad = {s: n for s, n in result["statusCodeDistribution"].items() if s != "200"}
        except (ValueError, KeyError, TypeError):
            raise SystemExit(f"oha failed:\n{text[:2000]}") from None
        bad.update(result.get("errorDistribution") or {})
        if bad:
            say(f"!! ERRORS at a constant rate: {bad}")
        rate = result["summary"]["requestsPerSec"]
        return {"p50": at["p50"], "p99": at["p99"], "p999": at["p99.9"], "rps": rate, "bad": sum(bad.values())}

    def measure_rate(self, server):
        """One run of oha, with what it cost the server."""
        before = sum(server.cpu())
        result = self.oha(server.port)
        time.sleep(0.05)
        requests = max(result["rps"] * self.options.seconds, 1)
        return {**result, "cpu": (sum(server.cpu()) - before) * 1e6 / requests}

    def rounds(self, servers, what):
        """Lets the contenders take turns; results by name, one a round."""
        results = {server.name: [] for server in servers}
        for number in range(self.options.rounds):
            turn = number % len(servers)
            for server in servers[turn:] + servers[:turn]:
                results[server.name].append(what(server))
        return results

    def ratio(self, name, values, bound):
        """Prints one ratio: the median of the rounds' ratios, and whether it keeps its bound."""
        value = statistics.median(values)
        text = f"ratio {name:27} {value:8.2f}   [{min(values):.2f} .. {max(values):.2f}]"
        if bound is None:
            text += "   no bound"
        else:
            text += f"   bound >= {bound:.2f}: {'holds' if value >= bound else 'MISSED'}"
        self.ratios.append(text)

    def no_ratio(self, name, why):
        self.ratios.append(f"ratio {name:27} {'n/a':>8}   {why}")


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def over(results, better, worse, key):
    """The rounds' ratios `better / worse` of one measure."""
    return [a[key] / max(b[key], 1e-9) for a, b in zip(results[better], results[worse])]


def table(title, header, rows):
    say(f"\n{title}")
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [str(c).ljust(w) if not i else str(c).rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        say("  " + "   ".join(cells))


def load_table(title, results, calls=None):
    header = ["", "CPU us/req", "user us/req", "req/s", "p50 us", "p99 us", "p99.9 us"]
    rows = []
    for name, runs in results.items():
        cpu = [f"{median(runs, 'cpu'):.1f}", f"{median(runs, 'user'):.1f}"] if runs[0]["cpu"] else ["-", "-"]
        rest = [f"{median(runs, key):.0f}" for key in ("rps", "p50", "p99", "p999")]
        rows.append([name, *cpu, *rest])
    if calls:
        header.append("syscalls/req")
        rows = [[*row, f"{calls[row[0]]['all']:.2f}" if row[0] in calls else "-"] for row in rows]
    table(title, header, rows)


CALLS = "read readv recvfrom recvmsg write writev sendto sendmsg epoll_wait epoll_pwait epoll_ctl futex"


def system_calls(bench, server):
    """System calls per request in a short run of its own, or `None` without a tracer."""
    pids = server.pids()
    if shutil.which("perf"):
        events = ["context-switches", "raw_syscalls:sys_enter"] + [f"syscalls:sys_enter_{call}" for call in CALLS.split()]
        command = ["perf", "stat", "-x", ",", "-e", ",".join(events), "-p", ",".join(map(str, pids))]
        pattern, stop = r"^(\d+),[^,]*,(?:\w+:sys_enter_?)?([\w-]*)", signal.SIGINT
    elif shutil.which("strace"):
        command = ["strace", "-c", "-f", "-U", "calls,name"] + [f"-p{pid}" for pid in pids]
        pattern, stop = r"^\s*(\d+)\s+(\w+)\s*$", signal.SIGINT
    else:
        return None
    tracer = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent
    )
    time.sleep(0.7)
    result = bench.wrk(server.port, 2)
    tracer.send_signal(stop)
    try:
        text = tracer.communicate(timeout=20)[1]
    except subprocess.TimeoutExpired:
        tracer.kill()
        return None
    counts = {name or "all": int(count) for count, name in re.findall(pattern, text, re.M)}
    if "total" in counts:  # strace's last line
        counts["all"] = counts.pop("total")
    if not counts.get("all"):
        return None
    return {name: count / result["requests"] for name, count in counts.items()}


def all_system_calls(bench, servers):
    calls = {}
    for server in servers:
        counted = system_calls(bench, server)
        if counted is None:
            left_out("system calls: neither perf (with permission) nor strace works here")
            return {}
        calls[server.name] = counted
    say("\nSystem calls per request, by kind (a run of their own)")
    for name, counted in calls.items():
        switches = counted.get("context-switches")
        named = [(n, c) for n, c in counted.items() if n not in ("all", "context-switches")]
        kinds = [f"{n} {c:.2f}" for n, c in sorted(named, key=lambda x: -x[1]) if c >= 0.005]
        extra = f"; context switches {switches:.2f}" if switches is not None else ""
        say(f"  {name:20} {counted['all']:6.2f} = {', '.join(kinds)}{extra}")
    return calls
