"""Makes the example models, their expected answers, and the broken models of the tests.

    python -m venv .venv
    .venv/bin/pip install numpy==2.4.6 scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0
    .venv/bin/python config/models/make_models.py

Everything is seeded, so a second run with the same versions on the same kind of processor writes the
same bytes. Each folder gets `model.onnx` and `expected.json`: inputs, and what onnxruntime answers to
them. The models are small on purpose; all have a symbolic batch dimension.

    iris/v1      logistic regression (LinearClassifier, Normalizer): INT64 label, FP32 probabilities
    iris/v2      the same interface, answered by a small neural net
    digits/v1    a multi-layer perceptron over the 64 pixels of a digit
    convnet/v1   a convolutional net over the 8x8 digit: filters learned by k-means, linear head
"""

import json
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.cluster import MiniBatchKMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).resolve().parent
BROKEN = HERE.parent.parent / "tests" / "data" / "models"
OPSET = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8


def save(model, path):
    """Writes `model` without anything that changes from run to run."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "make_models.py", ""
    model.doc_string = model.graph.doc_string = ""
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*opset) for opset in sorted(opsets.items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def save_with_answers(model, folder, batches):
    """Writes the model and what onnxruntime answers to each of `batches`."""
    onnx.checker.check_model(model)
    path = HERE / folder / "model.onnx"
    save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    cases = []
    for batch in batches:
        batch = np.asarray(batch, dtype=np.float32)
        outputs = session.run(None, {name: batch})
        cases.append({
            "inputs": [tensor(name, batch)],
            "outputs": [tensor(o.name, v) for o, v in zip(session.get_outputs(), outputs)],
        })
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    (path.parent / "expected.json").write_text(f"[\n  {lines}\n]\n")
    print(f"{folder}: {path.stat().st_size} bytes, {len(cases)} cases")


def tensor(name, value):
    """The Open Inference form of an array."""
    datatype = {"float32": "FP32", "int64": "INT64"}[value.dtype.name]
    flat = [float(f"{v:.9g}") if datatype == "FP32" else int(v) for v in value.ravel()]
    return {"name": name, "datatype": datatype, "shape": list(value.shape), "data": flat}


def batch_first(model, names):
    """Names the batch dimension and the outputs, so that clients read the same words everywhere."""
    for value in [*model.graph.input, *model.graph.output]:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_param = "batch"
    for old, new in names.items():
        for node in model.graph.node:
            node.input[:] = [new if n == old else n for n in node.input]
            node.output[:] = [new if n == old else n for n in node.output]
        for value in [*model.graph.input, *model.graph.output]:
            value.name = new if value.name == old else value.name
    return model


def sklearn_model(estimator, features, graph_name):
    model = to_onnx(
        estimator,
        initial_types=[("input", FloatTensorType([None, features]))],
        options={"zipmap": False},
        target_opset=OPSET,
        name=graph_name,
    )
    return batch_first(model, {"output_label": "label"})


def scaled_net(estimator, scaler, features, classes, name):
    """A fitted MLPClassifier (relu, softmax) behind a StandardScaler, in plain ONNX operators.

    The scaler is folded into the first layer."""
    weights = [w.astype(np.float64) for w in estimator.coefs_]
    biases = [b.astype(np.float64) for b in estimator.intercepts_]
    biases[0] = biases[0] - (scaler.mean_ / scaler.scale_) @ weights[0]
    weights[0] = weights[0] / scaler.scale_[:, None]
    nodes, constants, last = [], [], "input"
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        constants.append(numpy_helper.from_array(weight.astype(np.float32), f"weight{i}"))
        constants.append(numpy_helper.from_array(bias.astype(np.float32), f"bias{i}"))
        out = f"layer{i}"
        nodes.append(helper.make_node("Gemm", [last, f"weight{i}", f"bias{i}"], [out], name=f"gemm{i}"))
        last = out
        if i + 1 < len(weights):
            nodes.append(helper.make_node("Relu", [last], [f"relu{i}"], name=f"relu{i}"))
            last = f"relu{i}"
    nodes += classifier_tail(last)
    return make(nodes, constants, [features], classes, name)


def classifier_tail(scores):
    return [
        helper.make_node("Softmax", [scores], ["probabilities"], name="softmax", axis=1),
        helper.make_node("ArgMax", [scores], ["label"], name="argmax", axis=1, keepdims=0),
    ]


def make(nodes, constants, input_dims, classes, name):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [value("input", TensorProto.FLOAT, ["batch", *input_dims])],
        [
            value("label", TensorProto.INT64, ["batch"]),
            value("probabilities", TensorProto.FLOAT, ["batch", classes]),
        ],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def iris():
    x, y = load_iris(return_X_y=True)
    batches = [x[:1], x[50:51], x[149:150], x[::37], x[:32], [[0, 0, 0, 0]], [[1e4, -1e4, 1e-30, 7.9]]]
    v1 = LogisticRegression(max_iter=1000, random_state=0).fit(x, y)
    save_with_answers(sklearn_model(v1, 4, "iris"), "iris/v1", batches)

    scaler = StandardScaler().fit(x)
    v2 = MLPClassifier((8,), max_iter=2000, alpha=0.1, random_state=0).fit(scaler.transform(x), y)
    save_with_answers(scaled_net(v2, scaler, 4, 3, "iris"), "iris/v2", batches)


def digits():
    x, y = load_digits(return_X_y=True)
    net = MLPClassifier((32,), max_iter=300, alpha=0.5, random_state=0).fit(x[:1500], y[:1500])
    print("digits accuracy", net.score(x[1500:], y[1500:]))
    save_with_answers(sklearn_model(net, 64, "digits"), "digits/v1", [x[:1], x[1500:1501], x[1600:1607]])


def convnet():
    """Coates, Lee and Ng (2011): patches -> k-means filters -> ReLU -> pooling -> linear classifier."""
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32).reshape(-1, 1, 8, 8) / 16
    rng = np.random.default_rng(0)
    rows, tops, lefts = (rng.integers(0, n, 4000) for n in (1500, 6, 6))
    patches = np.stack([x[r, 0, t:t + 3, l:l + 3].ravel() for r, t, l in zip(rows, tops, lefts)])
    patches = patches - patches.mean(axis=1, keepdims=True)
    filters = MiniBatchKMeans(24, n_init=3, random_state=0).fit(patches).cluster_centers_
    filters = filters / (np.linalg.norm(filters, axis=1, keepdims=True) + 1e-6)

    constants = {
        "filters": filters.astype(np.float32).reshape(24, 1, 3, 3),
        "offsets": np.full(24, -0.1, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "filters", "offsets"], ["conv"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"], name="relu"),
        helper.make_node("MaxPool", ["relu"], ["pool"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pool"], ["features"], name="flatten"),
    ]
    body = helper.make_model(
        helper.make_graph(
            nodes, "features",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 8, 8])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 384])],
            [numpy_helper.from_array(v, k) for k, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=IR_VERSION,
    )
    run = onnxruntime.InferenceSession(body.SerializeToString(), providers=["CPUExecutionProvider"]).run
    features = run(None, {"input": x})[0]
    head = LogisticRegression(max_iter=2000, C=1.0, random_state=0).fit(features[:1500], y[:1500])
    print("convnet accuracy", head.score(features[1500:], y[1500:]))
    constants["weight"] = head.coef_.T.astype(np.float32)
    constants["bias"] = head.intercept_.astype(np.float32)
    nodes.append(helper.make_node("Gemm", ["features", "weight", "bias"], ["scores"], name="head"))
    model = make(
        nodes + classifier_tail("scores"),
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
        [1, 8, 8], 10, "convnet",
    )
    save_with_answers(model, "convnet/v1", [x[:1], x[1500:1501], x[1600:1605]])


def broken():
    """Models of the tests: most must be refused with a clear message, for the reason in the name."""
    value = helper.make_tensor_value_info
    x, y = value("x", TensorProto.FLOAT, ["batch", 2]), value("y", TensorProto.FLOAT, ["batch", 2])
    relu = helper.make_node("Relu", ["x"], ["y"], name="activate")

    def write(name, nodes, inputs, outputs, constants=(), domains=()):
        graph = helper.make_graph(nodes, name, inputs, outputs, list(constants))
        opsets = [helper.make_opsetid(d, v) for d, v in [*OPSET.items(), *[(d, 1) for d in domains]]]
        save(helper.make_model(graph, opset_imports=opsets), BROKEN / f"{name}.onnx")

    forest = helper.make_node(
        "SVMRanker", ["x"], ["y"], name="price", domain="ai.onnx.ml",
        coefficients=[1.0, 2.0], kernel_type="LINEAR", rho=[0.5], n_supports=0,
    )
    write("unsupported_operator", [forest], [x], [y])
    write(
        "unsupported_operator_in_branch",
        [helper.make_node(
            "If", ["flag"], ["y"], name="choose",
            then_branch=helper.make_graph([helper.make_node("Det", ["x"], ["a"], name="inner")], "t", [],
                                          [value("a", TensorProto.FLOAT, None)]),
            else_branch=helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "e", [],
                                          [value("b", TensorProto.FLOAT, None)]),
        )],
        [x, value("flag", TensorProto.BOOL, [])], [y],
    )
    write("foreign_domain", [helper.make_node("Relu", ["x"], ["y"], name="mine", domain="com.example")],
          [x], [y], domains=["com.example"])
    write("string_input", [helper.make_node("Identity", ["words"], ["y"], name="echo")],
          [value("words", TensorProto.STRING, ["batch", 1])], [value("y", TensorProto.STRING, ["batch", 1])])
    # Fine: texts in, texts and numbers out, both in the columns that a pipeline would have.
    colours, numbers, wanted = ["red", "green", ""], [1, 2, 0], ["rot", "grün", "nichts"]
    encode = {"domain": "ai.onnx.ml", "keys_strings": colours}
    write("colours", [helper.make_node("LabelEncoder", ["colour"], ["number"], name="count", default_int64=-1,
                                       values_int64s=numbers, **encode),
                      helper.make_node("LabelEncoder", ["colour"], ["german"], name="translate", default_string="?",
                                       values_strings=wanted, **encode)],
          [value("colour", TensorProto.STRING, ["batch", 1])],
          [value("number", TensorProto.INT64, ["batch", 1]), value("german", TensorProto.STRING, ["batch", 1])])
    write("half_input", [relu], [value("x", TensorProto.FLOAT16, ["batch", 2])],
          [value("y", TensorProto.FLOAT16, ["batch", 2])])
    sequence = helper.make_tensor_sequence_value_info
    write("sequence_input", [helper.make_node("Identity", ["items"], ["y"], name="echo")],
          [sequence("items", TensorProto.FLOAT, None)], [sequence("y", TensorProto.FLOAT, None)])
    write("sequence_output", [relu, helper.make_node("Identity", ["y"], ["items"], name="echo")],
          [x], [sequence("items", TensorProto.FLOAT, None)])
    write("unknown_rank", [relu], [value("x", TensorProto.FLOAT, None)], [value("y", TensorProto.FLOAT, None)])
    write("no_outputs", [relu], [x], [])
    write("output_twice", [relu], [x], [y, y])
    write("input_twice", [relu], [x, x], [y])
    write("output_from_nowhere", [relu], [x], [value("z", TensorProto.FLOAT, ["batch", 2])])
    write("input_from_nowhere", [helper.make_node("Add", ["x", "w"], ["y"], name="sum")], [x], [y])
    write("shapes_that_clash", [helper.make_node("Gemm", ["x", "w"], ["y"], name="multiply")], [x], [y],
          [numpy_helper.from_array(np.ones((3, 2), np.float32), "w")])
    write("two_inputs", [helper.make_node("Add", ["x", "bias"], ["sum"], name="add"),
                         helper.make_node("Cast", ["sum"], ["rounded"], name="cast", to=TensorProto.INT64)],
          [x, value("bias", TensorProto.FLOAT, ["batch", 2])],
          [value("sum", TensorProto.FLOAT, ["batch", 2]), value("rounded", TensorProto.INT64, ["batch", 2])])
    write("row_sums", [helper.make_node("ReduceSum", ["x", "axes"], ["y"], name="add_up", keepdims=0)],
          [value("x", TensorProto.FLOAT, ["batch", "columns"])], [value("y", TensorProto.FLOAT, ["batch"])],
          [numpy_helper.from_array(np.array([1]), "axes")])
    # Fine to load; fails while it runs when an index is out of range.
    write("gather", [helper.make_node("Gather", ["table", "index"], ["y"], name="look_up")],
          [value("index", TensorProto.INT64, ["batch"])], [value("y", TensorProto.FLOAT, ["batch"])],
          [numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")])


if __name__ == "__main__":
    iris()
    digits()
    convnet()
    broken()
