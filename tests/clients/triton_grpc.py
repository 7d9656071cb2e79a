"""Triton's gRPC client, for tests that run in a process of their own.

Its messages have the names of KServe's, and a process can know a name once: beside tests of KServe the tests that
import this are skipped. `tests/all` runs them by themselves.
"""

import sys

import pytest

if "kserve" in sys.modules:
    pytest.skip("Triton's messages and KServe's have the same names: run this by itself", allow_module_level=True)

from tritonclient.grpc import *  # noqa: E402, F403
