"""Texts for Triton's Python backend; see the model beside it."""

import os
import sys

sys.path[:0] = os.environ["MODEL_PATHS"].split(os.pathsep)

from models import Colours  # noqa: E402
from triton_runtime import Runtime  # noqa: E402


class TritonPythonModel(Runtime):
    model = Colours
