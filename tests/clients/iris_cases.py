"""Iris v1's rows with onnxruntime's answers, as arrays."""

import numpy
from gateway import expected

CASES = expected("iris", "v1")
ROWS = numpy.concatenate([numpy.float32(case["inputs"][0]["data"]).reshape(-1, 4) for case in CASES])
LABELS = numpy.concatenate([numpy.ravel(case["outputs"][0]["data"]) for case in CASES])
PROBABILITIES = numpy.concatenate([numpy.reshape(case["outputs"][1]["data"], (-1, 3)) for case in CASES])


def assert_right(label, probabilities, first=0, last=None):
    """That these are the answers for the rows from `first` to `last`."""
    numpy.testing.assert_array_equal(numpy.ravel(label), LABELS[first:last])
    numpy.testing.assert_allclose(probabilities, PROBABILITIES[first:last], rtol=1e-5, atol=1e-7)
