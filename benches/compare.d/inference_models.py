#!/usr/bin/env python3
"""Makes the models that `benches/compare --only inference` times, into the folder given.

Trees are fitted to a synthetic task of 20 features: random forests by scikit-learn, gradient boosting by
LightGBM, with 100 and 1000 trees, at most 6 levels deep and as deep as they get. Beside them logistic and
linear regression, support vector machines, a convolutional net, a transformer encoder, and a graph that
does nothing.
Everything is seeded: the same versions of the packages make the same files.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES = 20
OPSETS = {"": 17, "ai.onnx.ml": 3}


def task(rows=4000):
    from sklearn.datasets import make_classification

    x, y = make_classification(
        n_samples=rows, n_features=FEATURES, n_informative=12, n_classes=2, flip_y=0.05, random_state=7
    )
    return x.astype(np.float32), y


def from_sklearn(model, x, options=None):
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    inputs = [("x", FloatTensorType([None, x.shape[1]]))]
    return to_onnx(model, initial_types=inputs, options=options, target_opset=OPSETS)


def forest(trees, depth):
    from sklearn.ensemble import RandomForestClassifier

    x, y = task()
    model = RandomForestClassifier(trees, max_depth=depth, n_jobs=2, random_state=1).fit(x, y)
    return from_sklearn(model, x, {id(model): {"zipmap": False}})


def boosting(trees, depth):
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    x, y = task()
    # 64 leaves fill 6 levels; without a limit of the depth there may be 255.
    shape = {"max_depth": depth, "num_leaves": 64} if depth else {"num_leaves": 255, "min_child_samples": 5}
    model = lightgbm.LGBMClassifier(n_estimators=trees, learning_rate=0.05, random_state=1, verbose=-1, **shape)
    model.fit(x, y)
    inputs = [("x", FloatTensorType([None, FEATURES]))]
    return convert_lightgbm(model, initial_types=inputs, zipmap=False, target_opset=15)


def regression_forest():
    from sklearn.ensemble import RandomForestRegressor

    x, y = task()
    target = x[:, 0] * x[:, 1] + y
    return from_sklearn(RandomForestRegressor(100, n_jobs=2, random_state=1).fit(x, target), x)


def logistic():
    from sklearn.linear_model import LogisticRegression

    x, y = task()
    model = LogisticRegression(max_iter=500).fit(x, y)
    return from_sklearn(model, x, {id(model): {"zipmap": False}})


def linear():
    from sklearn.linear_model import LinearRegression

    x, y = task()
    return from_sklearn(LinearRegression().fit(x, x[:, 0] * 2 + y), x)


def support_vectors(probability):
    from sklearn.svm import SVC

    x, y = task(1000)
    model = SVC(kernel="rbf", probability=probability, random_state=1).fit(x, y)
    return from_sklearn(model, x, {id(model): {"zipmap": False}})


def support_vector_regression():
    from sklearn.svm import SVR

    x, y = task(1000)
    return from_sklearn(SVR(kernel="rbf").fit(x, x[:, 0] * 2 + y), x)


def identity():
    """Does nothing: what a call costs."""
    g = Graph(1)
    g.add("Identity", "x")
    return g.model(["N", FEATURES], "y", ["N", FEATURES])


class Graph:
    """Collects nodes and weights."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def weight(self, *shape, scale=None):
        scale = scale or 1 / np.sqrt(np.prod(shape[1:]) or 1)
        return self.constant(self.random.normal(0, scale, shape).astype(np.float32))

    def constant(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, operator, *inputs, **attributes):
        self.count += 1
        output = f"t{self.count}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def model(self, inputs, output, dims):
        self.nodes[-1].output[0] = "y"
        values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)]
        results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)]
        graph = helper.make_graph(self.nodes, "graph", values, results, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def convnet():
    """Images of 3 x 64 x 64 through four convolutions and two layers: about 5 million multiplications."""
    g = Graph(2)
    at, channels = "x", 3
    for wide, stride in ((16, 2), (32, 2), (64, 2), (64, 1)):
        weight, bias = g.weight(wide, channels, 3, 3), g.weight(wide, scale=0.1)
        at = g.add("Conv", at, weight, bias, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride])
        at, channels = g.add("Relu", at), wide
    at = g.add("Flatten", g.add("GlobalAveragePool", at))
    at = g.add("Relu", g.add("Gemm", at, g.weight(128, 64), g.weight(128, scale=0.1), transB=1))
    g.add("Softmax", g.add("Gemm", at, g.weight(10, 128), g.weight(10, scale=0.1), transB=1), axis=1)
    return g.model(["N", 3, 64, 64], "y", ["N", 10])


def transformer(layers=2, length=32, width=128, heads=4):
    """An encoder with normalisation first: 32 tokens of 128 numbers, 2 layers of 4 heads."""
    g = Graph(3)
    each = width // heads

    def normalised(at):
        return g.add("LayerNormalization", at, g.constant(np.ones(width, np.float32)), g.weight(width, scale=0.01))

    def dense(at, wide, narrow):
        return g.add("Add", g.add("MatMul", at, g.weight(wide, narrow, scale=1 / np.sqrt(wide))), g.weight(narrow, scale=0.01))

    def split(at, order):
        shape = g.constant(np.array([0, length, heads, each], np.int64))
        return g.add("Transpose", g.add("Reshape", at, shape), perm=order)

    at = "x"
    for _ in range(layers):
        before, at = at, normalised(at)
        query, key, value = (dense(at, width, width) for _ in range(3))
        scores = g.add("MatMul", split(query, [0, 2, 1, 3]), split(key, [0, 2, 3, 1]))
        scores = g.add("Softmax", g.add("Mul", scores, g.constant(np.float32(1 / np.sqrt(each)))), axis=-1)
        mixed = g.add("Transpose", g.add("MatMul", scores, split(value, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        mixed = g.add("Reshape", mixed, g.constant(np.array([0, length, width], np.int64)))
        at = g.add("Add", before, dense(mixed, width, width))
        before, at = at, dense(normalised(at), width, 4 * width)
        gelu = g.add("Add", g.add("Erf", g.add("Mul", at, g.constant(np.float32(np.sqrt(0.5))))), g.constant(np.float32(1)))
        gelu = g.add("Mul", g.add("Mul", at, gelu), g.constant(np.float32(0.5)))
        at = g.add("Add", before, dense(gelu, 4 * width, width))
    g.add("ReduceMean", normalised(at), axes=[1], keepdims=0)
    return g.model(["N", length, width], "y", ["N", width])


MODELS = {
    "identity": (identity,),
    **{f"forest_{trees}{name}": (forest, trees, depth) for trees in (100, 1000) for name, depth in (("_d6", 6), ("", None))},
    **{f"boosting_{trees}{name}": (boosting, trees, depth) for trees in (100, 1000) for name, depth in (("_d6", 6), ("", None))},
    "forest_regressor_100": (regression_forest,),
    "logistic": (logistic,),
    "linear": (linear,),
    "svc": (support_vectors, False),
    "svc_probability": (support_vectors, True),
    "svr": (support_vector_regression,),
    "convnet": (convnet,),
    "transformer": (transformer,),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, (make, *arguments) in MODELS.items():
        path = options.folder / f"{name}.onnx"
        if path.exists():
            continue
        started = time.time()
        model = make(*arguments)
        onnx.save(model, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").rename(path)
        print(f"{name}: {path.stat().st_size / 1e6:.1f} MB in {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
