"""A wall clock for one gateway, which a test sets while it runs. Needs a C compiler, as the build does."""

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """The clock of the gateways that are started with `environment`."""

    def __init__(self, folder):
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if not compiler:
            raise RuntimeError("no C compiler: the clock of a gateway cannot be set")
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.library = folder / "clock", folder / "clock.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(self.library), str(SOURCE)]
        subprocess.run(command, check=True)
        self.file.write_bytes(bytes(24))
        self.set()
        self.environment = {"LD_PRELOAD": str(self.library), "TEST_CLOCK": str(self.file)}

    def set(self, ahead_s=0.0, rate=1.0):
        """Lets it be ahead of the real one, and from now on run as many times as fast."""
        with open(self.file, "r+b", buffering=0) as file:
            file.write(struct.pack("ddd", time.time(), ahead_s, rate))
