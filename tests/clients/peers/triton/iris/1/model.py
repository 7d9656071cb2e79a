"""Iris for Triton's Python backend, whose interpreter ignores PYTHONPATH: where modules are stands in IRIS_PATHS."""

import os
import sys

sys.path[:0] = os.environ["IRIS_PATHS"].split(os.pathsep)

import triton_python_backend_utils as triton  # noqa: E402
from iris import Iris  # noqa: E402


class TritonPythonModel:
    def initialize(self, args):
        self.iris = Iris()

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        rows = triton.get_input_tensor_by_name(request, "input").as_numpy()
        wanted = request.requested_output_names()
        answers = self.iris.predict(rows).items()
        return triton.InferenceResponse([triton.Tensor(name, value) for name, value in answers if name in wanted])
