"""The test data of operators: what the `onnx` package generates and what it ships.

usage: nodes.py FOLDER
"""

import pathlib
import sys
import warnings

import onnx
from layout import write
from onnx.backend.test.case.node import collect_testcases

# Their answers are random, so that only a shape could be compared.
RANDOM = ("bernoulli", "random", "multinomial", "training_dropout", "test_dropout_random")


def main():
    root = sys.argv[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        if case.model is None or any(word in case.name for word in RANDOM):
            continue
        write(root, "node", case.name, case.model, case.data_sets or [])
    shipped = pathlib.Path(onnx.__file__).parent / "backend/test/data"
    for kind in ("simple", "pytorch-operator", "pytorch-converted"):
        for folder in sorted((shipped / kind).iterdir()):
            if (folder / "model.onnx").exists():
                sets = [read(data) for data in sorted(folder.glob("test_data_set_*"))]
                write(root, kind, folder.name, (folder / "model.onnx").read_bytes(), sets)


def read(folder):
    """The inputs and outputs of a shipped data set. Every file is a tensor or cannot be read as one."""
    return tuple([load(path) for path in numbered(folder, prefix)] for prefix in ("input", "output"))


def numbered(folder, prefix):
    return sorted(folder.glob(f"{prefix}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))


def load(path):
    try:
        return onnx.load_tensor(path)
    except Exception:  # a sequence, an optional value
        return None


if __name__ == "__main__":
    main()
