"""Iris as onnxruntime computes it, shared by the prediction servers of the tests. Knows no protocol."""

import os
import sys

import numpy
import onnxruntime

# The servers serve what the gateway serves, so that the same answers can be asked for.
MODEL = os.environ["IRIS_MODEL"]


class Iris:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

    def predict(self, rows):
        """Rows of four FP32 in; the labels (INT64) and three probabilities a row (FP32) out."""
        outputs = [output.name for output in self.session.get_outputs()]
        values = self.session.run(outputs, {"input": numpy.ascontiguousarray(rows, numpy.float32)})
        return dict(zip(outputs, (numpy.asarray(value) for value in values), strict=True))


if __name__ == "__main__":
    sys.exit("a module of the servers beside it")
