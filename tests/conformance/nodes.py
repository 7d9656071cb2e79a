"""The test data of operators: what the `onnx` package generates and what it ships.

usage: nodes.py FOLDER
"""

import pathlib
import sys
import warnings

import onnx
from layout import NO_TENSOR, encoded, write
from onnx.backend.test.case.node import collect_testcases

# The inputs that say how an operator works rather than on what: exporters write them as constants, and only
# as such are they supported. The test data has them as inputs, so there is a second form of those cases.
PARAMETERS = {
    "BatchNormalization": range(1, 5),
    "CenterCropPad": [1],
    "Clip": [1, 2],
    "Compress": [1],
    "ConstantOfShape": [0],
    "CumSum": [1],
    "DFT": [1, 2],
    "DequantizeLinear": [1, 2],
    "Expand": [1],
    "OneHot": [1, 2],
    "Pad": [1, 2, 3],
    "QuantizeLinear": [1, 2],
    "Range": [0, 1, 2],
    "Reshape": [1],
    "Resize": [1, 2, 3],
    "Slice": [1, 2, 3, 4],
    "Split": [1],
    "Squeeze": [1],
    "Tile": [1],
    "TopK": [1],
    "Trilu": [1],
    "Unsqueeze": [1],
    "Upsample": [1],
}
PARAMETERS |= {
    f"Reduce{kind}": [1]
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
}
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
        constant = with_constants(case)
        if constant:
            write(root, "node-constant", case.name, *constant)
    shipped = pathlib.Path(onnx.__file__).parent / "backend/test/data"
    for kind in ("simple", "pytorch-operator", "pytorch-converted"):
        for folder in sorted((shipped / kind).iterdir()):
            if (folder / "model.onnx").exists():
                sets = [read(data) for data in sorted(folder.glob("test_data_set_*"))]
                write(root, kind, folder.name, (folder / "model.onnx").read_bytes(), sets)


def with_constants(case):
    """The case with its operator's parameters as constants, or nothing if it has none as inputs."""
    nodes = case.model.graph.node
    parameters = PARAMETERS.get(nodes[0].op_type, []) if len(nodes) == 1 and case.data_sets else []
    names = [nodes[0].input[index] for index in parameters if index < len(nodes[0].input)]
    declared = [value.name for value in case.model.graph.input]
    positions = [declared.index(name) for name in names if name in declared]
    if not positions or len(case.data_sets) != 1:
        return None
    inputs, outputs = case.data_sets[0]
    if any(encoded(inputs[position]) == NO_TENSOR for position in positions):
        return None
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for position in positions:
        constant = onnx.TensorProto.FromString(encoded(inputs[position]))
        constant.name = declared[position]
        model.graph.initializer.append(constant)
    kept = [position for position in range(len(declared)) if position not in positions]
    values = [model.graph.input[position] for position in kept]
    del model.graph.input[:]
    model.graph.input.extend(values)
    return model, [([inputs[position] for position in kept], outputs)]


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
