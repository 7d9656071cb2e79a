"""Iris for Triton's Python backend, whose interpreter ignores PYTHONPATH: where modules are stands in MODEL_PATHS."""

import os
import sys

sys.path[:0] = os.environ["MODEL_PATHS"].split(os.pathsep)

from models import Iris  # noqa: E402
from triton_runtime import Runtime  # noqa: E402


class TritonPythonModel(Runtime):
    model = Iris
