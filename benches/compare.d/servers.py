"""The contenders: starting and stopping them, and what they have cost the machine.

Owns every long-lived process of the comparison; all of them die with it. Never makes load.
"""

import contextlib
import ctypes
import glob
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PARTS = Path(__file__).resolve().parent
MODEL = PARTS.parent.parent / "config" / "models" / "iris" / "v1" / "model.onnx"
PATH = "/v2/models/iris/infer"
BODY = b'{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}'
REPLY = (
    '{"model_name":"iris","model_version":"v1","outputs":[{"name":"label","datatype":"INT64",'
    '"shape":[1],"data":[0]},{"name":"p","datatype":"FP32","shape":[1],"data":[0.98]}]}'
)
TICKS = os.sysconf("SC_CLK_TCK")


def say(text=""):
    print(text, flush=True)


def left_out(what):
    say(f"!! LEFT OUT: {what}")


def die_with_parent():
    """Makes the kernel end a child when this script ends, however it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Server:
    """A contender: its process group, its address, and what it has cost so far."""

    running = []

    def __init__(self, name, command, port, directory, env=None, admin=None):
        self.name, self.port, self.admin = name, port, admin
        self.log = Path(directory) / (re.sub(r"\W+", "-", name) + ".log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        Server.running.append(self)

    def wait_ready(self, timeout=30.0):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.admin is None:
                    ask(self.port, "POST", PATH, BODY)
                    return self
                if ask(self.admin, "GET", "/readyz")[0] == 200:
                    return self
            time.sleep(0.02)
        self.stop()
        raise SystemExit(f"{self.name} does not start:\n{self.log.read_text()[-2000:]}")

    def pids(self):
        """All processes of the group, masters and workers."""
        children = {}
        for stat in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = Path(stat).read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(stat.split("/")[2]))
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue += children.get(pid, [])
        return found

    def cpu(self):
        """User and system seconds of the group so far."""
        user = system = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                user, system = user + int(fields[11]), system + int(fields[12])
        return user / TICKS, system / TICKS

    def thread_cpu(self, name):
        """User and system seconds so far of the threads whose names start with `name`."""
        total = 0
        for stat in glob.glob(f"/proc/{self.process.pid}/task/*/stat"):
            with contextlib.suppress(OSError):
                head, _, tail = Path(stat).read_text().rpartition(")")
                if head.partition("(")[2].startswith(name):
                    fields = tail.split()
                    total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def rss_mib(self):
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                total += int(found[1]) if found else 0
        return total / 1024

    def stop(self):
        if self in Server.running:
            Server.running.remove(self)
        for sign, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def stop_all():
    for server in list(Server.running):
        server.stop()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ask(port, method, path, body=None, timeout=5):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def run(command, timeout):
    """Runs a tool to its end and returns what it printed, both streams."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        text=True,
        errors="replace",
        preexec_fn=die_with_parent,
    )
    return done.stdout


def fill(template, directory, **values):
    """Writes a configuration with its `@NAME@` places filled and returns its path."""
    text = (PARTS / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    path = Path(directory) / template
    path.write_text(text)
    return str(path)




def pointsman(bench, name, template, **values):
    directory = bench.directory(re.sub(r"\W+", "-", name))
    port, admin = free_ports(2)
    config = fill(template, directory, PORT=port, ADMIN=admin, DIR=f"{directory}/data", MODEL=MODEL, **values)
    command = [bench.options.binary, "run", "-c", config]
    return Server(name, command, port, directory, admin=admin)


def nginx(bench, name, template, **values):
    directory, (port,) = bench.directory(name.replace(" ", "-")), free_ports(1)
    config = fill(template, directory, PORT=port, DIR=directory, **values)
    return Server(name, ["nginx", "-e", "stderr", "-c", config, "-p", directory], port, directory).wait_ready()


def haproxy(bench, upstream):
    directory, (port,) = bench.directory("haproxy"), free_ports(1)
    config = fill("haproxy.cfg", directory, PORT=port, UPSTREAM=upstream)
    return Server("haproxy", ["haproxy", "-db", "-f", config], port, directory).wait_ready()


def rival_python():
    """The directory of the rival's programs, installed on first use; `None` when that fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman"
    venv, wanted = cache / "venv-bench", (PARTS / "requirements.txt").read_text()
    stamp = venv / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"Installing FastAPI and onnxruntime into {venv}")
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(venv)],
            [str(venv / "bin" / "pip"), "install", "-q", "-r", str(PARTS / "requirements.txt")],
        ):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=600)
            if done.returncode:
                return None
        stamp.write_text(wanted)
    return venv / "bin"


def fastapi(bench, programs):
    directory, (port,) = bench.directory("fastapi"), free_ports(1)
    command = [programs / "gunicorn", "-c", PARTS / "gunicorn.conf.py", "--chdir", PARTS]
    command += ["--worker-tmp-dir", directory, "-b", f"127.0.0.1:{port}", "fastapi_app:app"]
    env = {"MODEL": str(MODEL), "PYTHONDONTWRITEBYTECODE": "1"}
    return Server("fastapi", list(map(str, command)), port, directory, env).wait_ready(60)


def must_answer(server, expected):
    """Ends the comparison unless the contender gives the right answer."""
    status, body = ask(server.port, "POST", PATH, BODY)
    outputs = json.loads(body).get("outputs") if status == 200 else None
    flat = [number for output in outputs or [] for number in output["data"]]
    wanted = [number for output in expected for number in output["data"]]
    if len(flat) != len(wanted) or any(abs(a - b) > 1e-5 for a, b in zip(flat, wanted)):
        raise SystemExit(f"{server.name} answers {status} {body[:500]!r}, expected {wanted}")


def recorded(server):
    """Prints what became of the records, since records that are left out cost nothing."""
    counts = {}
    end = time.monotonic() + 10
    while time.monotonic() < end:
        text = ask(server.admin, "GET", "/metrics")[1].decode()
        counts = {"received": 0, "written": 0, "dropped": 0, "omitted": 0}
        for kind, value in re.findall(
            r"^pointsman_log_(?:records|bodies)_(\w+)_total(?:\{[^}]*\})? (\S+)$", text, re.M
        ):
            counts[kind] += int(float(value))
        if counts["received"] == counts["written"] + counts["dropped"]:
            break
        time.sleep(0.1)
    loss = counts["dropped"] or counts["omitted"]
    say(
        f"{'!! ' if loss else ''}Log of {server.name}: received {counts['received']}, written "
        f"{counts['written']}, dropped {counts['dropped']}, bodies omitted {counts['omitted']}"
    )
