"""A real S3 server for the tests: SeaweedFS on free loopback ports, with a directory of its own.

Never waits a fixed time. The S3 client is pyarrow's, which knows nothing of the gateway.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from gateway import free_port
from pyarrow.fs import FileSelector, FileType, S3FileSystem

START_LIMIT_S = 60
ACCESS_KEY, SECRET_KEY, BUCKET = "access", "secret", "predictions"
ROLES = ("master", "volume", "filer", "s3")


class SeaweedFS:
    """One server with one bucket; what it was given survives a kill and a new start."""

    def __init__(self, directory):
        self.directory = Path(directory)
        (self.directory / "data").mkdir(parents=True)
        self.ports = {role: (free_port(), free_port()) for role in ROLES}
        identity = {
            "name": "pointsman",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.process = None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.ports['s3'][0]}"

    @property
    def files(self):
        """A client whose attempts are short, so that a server that is away is noticed."""
        return S3FileSystem(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            endpoint_override=self.endpoint,
            region="us-east-1",
            connect_timeout=2,
            request_timeout=5,
            allow_bucket_creation=True,
        )

    def start(self):
        """Starts the server and waits until its bucket is there."""
        arguments = [f"-dir={self.directory}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
        for role, (port, grpc) in self.ports.items():
            arguments += [f"-{role}.port={port}", f"-{role}.port.grpc={grpc}"]
        arguments += [f"-s3.config={self.directory}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        arguments += ["-master.volumeSizeLimitMB=64", "-volume.max=20", "-master.telemetry=false"]
        with open(self.directory / "output", "ab") as output:
            self.process = subprocess.Popen(
                [Path(sys.executable).parent / "weed", "server", *arguments], stdout=output, stderr=output
            )
        limit = time.monotonic() + START_LIMIT_S
        while not self._has_bucket():
            assert self.process.poll() is None, (self.directory / "output").read_text(errors="replace")
            assert time.monotonic() < limit, "the S3 server does not serve"
            time.sleep(0.1)
        return self

    def _has_bucket(self):
        try:
            self.files.create_dir(BUCKET)
            return True
        except OSError:
            return False

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait(30)
        self.process = None

    def objects(self, prefix):
        """The sizes of all objects below a prefix, by their names without it."""
        below = FileSelector(f"{BUCKET}/{prefix}", recursive=True, allow_not_found=True)
        found = [info for info in self.files.get_file_info(below) if info.type == FileType.File]
        return {info.path.removeprefix(f"{BUCKET}/{prefix}/"): info.size for info in found}
