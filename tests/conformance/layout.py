"""Where cases are written, and in which form: that of the `onnx` package's own test data."""

import pathlib
import re

import numpy
import onnx


# What stands in the file of a value that is no tensor, which no request carries either.
NO_TENSOR = b"\xff"


def write(root, kind, name, model, sets):
    """Writes a model and its data sets, each a pair of lists: inputs and expected outputs."""
    folder = pathlib.Path(root) / kind / re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    folder.mkdir(parents=True)
    content = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    for number, values in enumerate(sets):
        data = folder / f"test_data_set_{number}"
        data.mkdir()
        for prefix, tensors in zip(("input", "output"), values):
            for index, tensor in enumerate(tensors):
                (data / f"{prefix}_{index}.pb").write_bytes(encoded(tensor))


def encoded(value):
    """A tensor as protobuf, or `NO_TENSOR`."""
    if isinstance(value, onnx.TensorProto):
        return value.SerializeToString()
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        array = numpy.asarray(value)
        if array.dtype.kind in "OUS":
            array = array.astype(object)
        return onnx.numpy_helper.from_array(array).SerializeToString()
    return NO_TENSOR
