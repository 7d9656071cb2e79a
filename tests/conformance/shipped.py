"""Models that packages on PyPI ship: text recognition, file types, voice activity. The expected answers are
those of onnxruntime.

usage: shipped.py FOLDER
"""

import importlib.util
import pathlib
import sys

import numpy
import onnxruntime
from layout import write

# Package, file, and the shapes of a few inputs, in the model's order.
MODELS = [
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", [[(1, 3, 64, 64)], [(2, 3, 32, 96)]]),
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx", [[(1, 3, 48, 64)], [(2, 3, 48, 160)]]),
    ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", [[(1, 3, 48, 192)], [(3, 3, 48, 192)]]),
    ("magika", "models/standard_v3_3/model.onnx", [[(1, 2048)], [(3, 2048)]]),
    ("silero_vad", "data/silero_vad.onnx", [[(1, 576), (2, 1, 128), ()]]),
    ("silero_vad", "data/silero_vad_16k_op15.onnx", [[(1, 576), (2, 1, 128), ()]]),
    ("silero_vad", "data/silero_vad_half.onnx", [[(1, 576), (2, 1, 128)]]),
    ("silero_vad", "data/silero_vad_16k_sequence.onnx", [[(1, 576), (1, 1, 128), (1, 1, 128)], [(4, 576), (1, 1, 128), (1, 1, 128)]]),
    ("silero_vad", "data/silero_vad_openvino_16k.onnx", [[(1, 576), (2, 1, 128)]]),
    ("silero_vad", "data/silero_vad_op18_ifless.onnx", [[(1, 576), (), (2, 1, 128)]]),
]

SAMPLES_PER_SECOND = 16_000
# One more than the bytes: what stands for "no byte here".
BYTE_TOKENS = 257


def main():
    root = sys.argv[1]
    onnxruntime.set_default_logger_severity(4)
    for package, file, shapes in MODELS:
        content = path_of(package, file).read_bytes()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        sets = [answered(session, case, seed) for seed, case in enumerate(shapes)]
        write(root, "shipped", f"{package}-{pathlib.Path(file).stem}", content, sets)


def path_of(package, file):
    """A file of a package that need not be importable, for what it needs is not installed."""
    return pathlib.Path(importlib.util.find_spec(package).origin).parent / file


def answered(session, shapes, seed):
    random = numpy.random.default_rng(seed)
    inputs = [value(random, declared, shape) for declared, shape in zip(session.get_inputs(), shapes)]
    names = [declared.name for declared in session.get_inputs()]
    return inputs, session.run(None, dict(zip(names, inputs)))


def value(random, declared, shape):
    if declared.type == "tensor(int64)":
        return numpy.array(SAMPLES_PER_SECOND, numpy.int64)
    if declared.type == "tensor(int32)":
        return random.integers(0, BYTE_TOKENS, shape).astype(numpy.int32)
    return (0.3 * random.normal(size=shape)).astype(numpy.float32)


if __name__ == "__main__":
    main()
