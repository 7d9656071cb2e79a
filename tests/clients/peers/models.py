"""The models that the prediction servers of the tests serve, as onnxruntime computes them. Knows no protocol."""

import os
import sys

import numpy
import onnxruntime


class Model:
    """One ONNX file of the gateway, so that the same answers can be asked for."""

    def __init__(self, path, dtype):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.dtype = dtype

    def predict(self, rows):
        """The value of the only input in; every output's by name."""
        given = {self.session.get_inputs()[0].name: numpy.ascontiguousarray(rows, self.dtype)}
        outputs = [output.name for output in self.session.get_outputs()]
        values = self.session.run(outputs, given)
        return dict(zip(outputs, (numpy.asarray(value) for value in values), strict=True))


class Iris(Model):
    """Four FP32 in; the label (INT64) and three probabilities (FP32) out."""

    def __init__(self):
        super().__init__(os.environ["IRIS_MODEL"], numpy.float32)


class Colours(Model):
    """A text in (bytes or str); its number (INT64) and another text (bytes) out."""

    def __init__(self):
        super().__init__(os.environ["COLOURS_MODEL"], object)

    def predict(self, rows):
        texts = [text.decode() if isinstance(text, bytes) else text for text in rows.ravel()]
        answer = super().predict(numpy.array(texts, object).reshape(rows.shape))
        german = [text.encode() for text in answer["german"].ravel()]
        return {"number": answer["number"], "german": numpy.array(german, object).reshape(rows.shape)}


if __name__ == "__main__":
    sys.exit("a module of the servers beside it")
