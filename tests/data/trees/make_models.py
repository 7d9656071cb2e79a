#!/usr/bin/env python3
"""Makes the models that the tests of trees and support vector machines run, and their answers.

    python -m venv .venv
    .venv/bin/pip install numpy==2.4.6 scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2 \
        onnxruntime==1.32.0 onnxmltools==1.16.0 xgboost-cpu==3.2.0 lightgbm==4.7.0 pandas
    .venv/bin/python tests/data/trees/make_models.py

`fitted/` has what scikit-learn, XGBoost and LightGBM fit and their converters export; `made/` has graphs
of one node, with random trees, for what no converter writes. Beside each `NAME.onnx` stands `NAME.json`:
one input and what onnxruntime answers to it. Numbers that JSON has no form for are texts. The rows are
random, and some hold NaN, infinities, zeros of both signs, and the very thresholds of the trees.
Everything is seeded.
"""

import itertools
import json
import pathlib
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

HERE = pathlib.Path(__file__).resolve().parent
OPSETS = {"": 17, "ai.onnx.ml": 3}
EDGES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-40]

warnings.filterwarnings("ignore")


def plain(values):
    """The elements of an array, as JSON has them."""

    def element(value):
        if isinstance(value, str) or not isinstance(value, float):
            return value
        return value if np.isfinite(value) else repr(value)

    return [element(value) for value in np.asarray(values).ravel().tolist()]


def tensor(name, array):
    names = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32"}
    kind = names.get(array.dtype.name, "BYTES")
    return {"name": name, "datatype": kind, "shape": list(array.shape), "data": plain(array)}


def thresholds(model):
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_values":
                yield from attribute.floats
            elif attribute.name in ("nodes_values_as_tensor", "nodes_splits"):
                yield from onnx.numpy_helper.to_array(attribute.t).tolist()


def rows(model, features, seed, edges=True, dtype=np.float32, like=None):
    random = np.random.default_rng(seed)
    if like is None:
        x = random.normal(0, 1.5, (24, features))
    else:
        x = like[random.integers(0, len(like), 24)].astype(np.float64)
    known = list(itertools.islice(thresholds(model), 200)) or [0.5]
    for row in range(8, 14):
        x[row] = random.choice(known, features)
    if edges:
        for row in range(14, 20):
            x[row, random.integers(0, features, 2)] = random.choice(EDGES, 2)
        x[20:] = [[edge] * features for edge in EDGES[:4]]
    return x.astype(dtype)


def save(folder, name, model, features, seed=5, asked=None, **options):
    """Writes a model, and what onnxruntime answers to it or to `asked`."""
    model.producer_name, model.producer_version = "make_models.py", ""
    model.doc_string, model.graph.doc_string, model.graph.name = "", "", name
    model.ir_version = min(model.ir_version, 10)
    opsets = sorted((opset.domain, opset.version) for opset in model.opset_import)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*opset) for opset in opsets)
    path = HERE / folder / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"edges": True, **options}
    x = rows(model, features, seed, **options)
    quiet = onnxruntime.SessionOptions()
    quiet.intra_op_num_threads, quiet.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession((asked or model).SerializeToString(), quiet)
    values = session.run(None, {session.get_inputs()[0].name: x})
    outputs = [tensor(o.name, np.asarray(v)) for o, v in zip(session.get_outputs(), values)]
    case = {"inputs": [tensor(session.get_inputs()[0].name, x)], "outputs": outputs}
    path.write_bytes(model.SerializeToString(deterministic=True))
    path.with_suffix(".json").write_text(json.dumps(case, separators=(",", ":")) + "\n")
    assert path.stat().st_size < 100_000, f"{path} has {path.stat().st_size} bytes"


def tolerant(make_attribute):
    """onnx no longer takes booleans for integers, which skl2onnx gives it."""

    def made(key, value, *rest, **options):
        if isinstance(value, (list, tuple)):
            value = [int(v) if isinstance(v, (bool, np.bool_)) else v for v in value]
        return make_attribute(key, value, *rest, **options)

    return made


def scikit_learn():
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from sklearn import ensemble, svm, tree
    from sklearn.datasets import make_classification

    x, y = make_classification(300, 6, n_informative=4, n_classes=3, random_state=3)
    x = x.astype(np.float32)
    two, number = (y > 0).astype(int), (x[:, 0] * x[:, 1] + y).astype(np.float64)
    texts = np.array(["low", "mid", "top"])[y]
    holes = x.copy()
    holes[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    small = {"n_estimators": 8, "max_depth": 5, "random_state": 1}

    def fit(name, model, target, data=x, dtype=np.float32, **options):
        model.fit(data, target)
        kind = FloatTensorType if dtype == np.float32 else DoubleTensorType
        plain_scores = {id(model): {"zipmap": False}} if hasattr(model, "classes_") and "Linear" not in type(model).__name__ else None
        graph = to_onnx(model, initial_types=[("x", kind([None, 6]))], options=plain_scores, target_opset=OPSETS)
        for output in graph.graph.output:
            # The operators answer in 32 bits whatever they are asked in; the converter says otherwise.
            if output.type.tensor_type.elem_type == TensorProto.DOUBLE:
                output.type.tensor_type.elem_type = TensorProto.FLOAT
        save("fitted", name, graph, 6, dtype=dtype, **options)

    fit("tree_classifier", tree.DecisionTreeClassifier(max_depth=6, random_state=1), y)
    fit("tree_classifier_texts", tree.DecisionTreeClassifier(max_depth=6, random_state=1), texts)
    fit("tree_regressor", tree.DecisionTreeRegressor(max_depth=7, random_state=1), number)
    fit("forest_two", ensemble.RandomForestClassifier(**small), two)
    fit("forest_three", ensemble.RandomForestClassifier(**small), y)
    fit("forest_texts", ensemble.RandomForestClassifier(**small), np.where(two, "yes", "no"))
    fit("forest_labels", ensemble.RandomForestClassifier(**small), two * 4 + 3)
    fit("forest_regressor", ensemble.RandomForestRegressor(**small), number)
    fit("forest_regressor_two_targets", ensemble.RandomForestRegressor(**small), np.c_[number, -x[:, 2]])
    fit("forest_regressor_double", ensemble.RandomForestRegressor(**small), number, dtype=np.float64)
    fit("forest_double", ensemble.RandomForestClassifier(**small), y, dtype=np.float64)
    fit("forest_holes", ensemble.RandomForestClassifier(**small), y, data=holes)
    fit("extra_trees", ensemble.ExtraTreesClassifier(**small), y)
    fit("extra_trees_regressor", ensemble.ExtraTreesRegressor(**small), number)
    boosted = {"n_estimators": 30, "max_depth": 3, "random_state": 1}
    fit("gradient_boosting_two", ensemble.GradientBoostingClassifier(**boosted), two)
    fit("gradient_boosting_three", ensemble.GradientBoostingClassifier(**boosted), y)
    fit("gradient_boosting_regressor", ensemble.GradientBoostingRegressor(**boosted), number)
    hist = {"max_iter": 20, "max_leaf_nodes": 12, "random_state": 1}
    fit("hist_boosting_two", ensemble.HistGradientBoostingClassifier(**hist), two, data=holes)
    fit("hist_boosting_three", ensemble.HistGradientBoostingClassifier(**hist), y, data=holes)
    fit("hist_boosting_regressor", ensemble.HistGradientBoostingRegressor(**hist), number, data=holes)
    fit("isolation_forest", ensemble.IsolationForest(n_estimators=5, max_samples=32, random_state=1), None)

    # The scores of machines far away from all vectors say nothing: no edges there.
    near = {"edges": False, "like": x}
    part = np.arange(0, 300, 3)
    for kernel in ("linear", "poly", "rbf", "sigmoid"):
        for name, target in (("two", two), ("three", y)):
            fit(f"svc_{kernel}_{name}", svm.SVC(kernel=kernel, random_state=1), target[part], data=x[part], **near)
            model = svm.SVC(kernel=kernel, probability=True, random_state=1)
            fit(f"svc_{kernel}_{name}_probability", model, target[part], data=x[part], **near)
        fit(f"svr_{kernel}", svm.SVR(kernel=kernel, C=0.05, epsilon=0.5), number[part], data=x[part], **near)
    fit("svc_texts", svm.SVC(probability=True, random_state=1), texts[part], data=x[part], **near)
    fit("svc_poly_4", svm.SVC(kernel="poly", degree=4, coef0=0.5), y[part], data=x[part], **near)
    fit("nu_svc", svm.NuSVC(nu=0.3, probability=True, random_state=1), y[part], data=x[part], **near)
    fit("nu_svr", svm.NuSVR(), number[part], data=x[part], **near)
    fit("one_class", svm.OneClassSVM(), None, data=x[part], **near)
    fit("linear_svc", svm.LinearSVC(random_state=1), y, **near)
    fit("linear_svr", svm.LinearSVR(random_state=1), number, **near)


def boosting():
    import lightgbm
    import xgboost
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from sklearn.datasets import make_classification

    x, y = make_classification(400, 6, n_informative=4, n_classes=3, random_state=9)
    x = x.astype(np.float32)
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    two, number = (y > 0).astype(int), (np.nan_to_num(x[:, 0]) * 2 + y).astype(np.float64)
    types = [("x", FloatTensorType([None, 6]))]
    for name, model, target in (
        ("two", xgboost.XGBClassifier(n_estimators=20, max_depth=4, random_state=1), two),
        ("three", xgboost.XGBClassifier(n_estimators=10, max_depth=4, random_state=1), y),
        ("regressor", xgboost.XGBRegressor(n_estimators=20, max_depth=4, random_state=1), number),
    ):
        model.fit(x, target)
        save("fitted", f"xgboost_{name}", convert_xgboost(model, initial_types=types, target_opset=15), 6)
    quiet = {"random_state": 1, "verbose": -1, "num_leaves": 15, "min_child_samples": 5}
    for name, model, target in (
        ("two", lightgbm.LGBMClassifier(n_estimators=20, **quiet), two),
        ("three", lightgbm.LGBMClassifier(n_estimators=10, **quiet), y),
        ("regressor", lightgbm.LGBMRegressor(n_estimators=20, **quiet), number),
    ):
        model.fit(x, target)
        zipmap = {"zipmap": False} if name != "regressor" else {}
        graph = convert_lightgbm(model, initial_types=types, target_opset=15, **zipmap)
        save("fitted", f"lightgbm_{name}", graph, 6)
    # Categories become chains of branches that test for equality.
    kinds = np.abs(np.nan_to_num(x) * 3).astype(int) % 7
    model = lightgbm.LGBMClassifier(n_estimators=6, cat_smooth=1, min_data_per_group=5, max_cat_to_onehot=1, **quiet)
    model.fit(kinds.astype(np.float32), (kinds.sum(axis=1) % 2), categorical_feature=[0, 1, 2])
    graph = convert_lightgbm(model, initial_types=types, zipmap=False, target_opset=15)
    save("fitted", "lightgbm_categories", graph, 6, like=kinds)


class Trees:
    """Random trees, as the lists of the operators."""

    def __init__(self, seed, trees, depth, modes, votes, missing, values=None, features=4):
        self.random = np.random.default_rng(seed)
        self.depth, self.modes, self.votes, self.features = depth, modes, votes, features
        self.values = values if values is not None else np.float32(self.random.normal(0, 1, 5)).tolist()
        self.nodes, self.leaves = [], []
        for self.tree in range(trees):
            self.count = 0
            self.node(0)
        self.missing = [int(n["missing"]) for n in self.nodes] if missing else None

    def node(self, depth):
        number, self.count = self.count, self.count + 1
        node = {"tree": self.tree, "node": number, "mode": "LEAF", "feature": 0, "value": 0.0, "true": 0, "false": 0}
        node["missing"] = self.random.random() < 0.5
        self.nodes.append(node)
        if depth == self.depth or (depth > 1 and self.random.random() < 0.25):
            for target, weight in self.votes(self.random):
                self.leaves.append((self.tree, number, target, float(np.float32(weight))))
            return number
        node["mode"] = str(self.random.choice(self.modes))
        node["feature"] = int(self.random.integers(0, self.features))
        node["value"] = float(self.random.choice(self.values))
        node["true"] = self.node(depth + 1)
        node["false"] = self.node(depth + 1)
        return number

    def attributes(self, names, wide=False):
        column = lambda key: [node[key] for node in self.nodes]
        prefix, ids = names
        lists = {
            "nodes_treeids": column("tree"),
            "nodes_nodeids": column("node"),
            "nodes_featureids": column("feature"),
            "nodes_modes": column("mode"),
            "nodes_truenodeids": column("true"),
            "nodes_falsenodeids": column("false"),
            f"{prefix}_treeids": [leaf[0] for leaf in self.leaves],
            f"{prefix}_nodeids": [leaf[1] for leaf in self.leaves],
            ids: [leaf[2] for leaf in self.leaves],
        }
        weights = [leaf[3] for leaf in self.leaves]
        if wide:
            double = lambda name, values: helper.make_tensor(name, TensorProto.DOUBLE, [len(values)], values)
            lists["nodes_values_as_tensor"] = double("v", column("value"))
            lists[f"{prefix}_weights_as_tensor"] = double("w", weights)
        else:
            lists["nodes_values"] = column("value")
            lists[f"{prefix}_weights"] = weights
        if self.missing:
            lists["nodes_missing_value_tracks_true"] = self.missing
        return lists


def graph(operator, outputs, version, attributes, element=TensorProto.FLOAT, features=4):
    node = helper.make_node(operator, ["x"], [name for name, _ in outputs], domain="ai.onnx.ml", **attributes)
    value = helper.make_tensor_value_info
    results = [value(n, k, [None] if n == "label" else [None, None]) for n, k in outputs]
    inner = helper.make_graph([node], "graph", [value("x", element, [None, features])], results)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(inner, opset_imports=opsets, ir_version=8)


BRANCHES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]


def one(target, low=-1.0, high=1.0):
    return lambda random: [(target, random.uniform(low, high))]


def each(targets, low=-1.0, high=1.0):
    return lambda random: [(target, random.uniform(low, high)) for target in range(targets)]


def some(targets):
    return lambda random: [(t, random.uniform(-1, 1)) for t in range(targets) if random.random() < 0.6] or [(0, 0.5)]


def either(targets):
    return lambda random: [(int(random.integers(0, targets)), random.uniform(-1, 1))]


def regressors():
    def make(name, trees, targets, wide=False, element=TensorProto.FLOAT, **attributes):
        lists = trees.attributes(("target", "target_ids"), wide)
        kinds = {"n_targets": targets, **lists, **attributes}
        model = graph("TreeEnsembleRegressor", [("y", TensorProto.FLOAT)], 3 if wide else 1, kinds, element)
        dtype = np.float64 if element == TensorProto.DOUBLE else np.float32
        save("made", f"regressor_{name}", model, 4, dtype=dtype)

    for number, mode in enumerate(BRANCHES):
        for missing in (False, True):
            trees = Trees(number, 5, 5, [mode], one(0), missing)
            make(f"{mode.lower()}{'_missing' * missing}", trees, 1)
    for missing in (False, True):
        make(f"mixed{'_missing' * missing}", Trees(7, 9, 6, BRANCHES, one(0), missing), 1)
    edges = [np.inf, -np.inf, 0.0, -0.0, np.nan, 1e-40]
    for missing in (False, True):
        trees = Trees(8, 5, 6, BRANCHES, one(0), missing, edges)
        make(f"edges{'_missing' * missing}", trees, 1)
    for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):
        for targets, votes in ((1, one(0)), (3, each(3)), (3, some(3))):
            kind = f"{aggregate.lower()}_{targets}{'_some' * (votes.__qualname__.startswith('some'))}"
            base = [0.25, -0.5, 1.0][:targets]
            trees = Trees(9, 12, 4, BRANCHES[:2], votes, True)
            make(f"{kind}", trees, targets, aggregate_function=aggregate)
            make(f"{kind}_base", trees, targets, aggregate_function=aggregate, base_values=base)
    for transform in TRANSFORMS[1:]:
        for targets in (1, 2, 3):
            trees = Trees(10, 3, 3, BRANCHES[:1], each(targets, 0, 0.3), False)
            make(f"{transform.lower()}_{targets}", trees, targets, post_transform=transform)
    deep = Trees(11, 6, 11, BRANCHES[:2], one(0), True, np.float32(np.linspace(-2, 2, 64)).tolist())
    make("deep", deep, 1)
    values = np.random.default_rng(2).normal(0, 1, 9).tolist()
    trees = Trees(12, 5, 5, BRANCHES, each(2), True, values)
    make("double", trees, 2, wide=True, element=TensorProto.DOUBLE)
    for aggregate in ("SUM", "MIN"):
        trees = Trees(14, 3, 3, BRANCHES[:1], one(0), False)
        make(f"{aggregate.lower()}_no_votes", trees, 2, aggregate_function=aggregate, base_values=[0.25, -0.5])
    make("double_input", Trees(13, 5, 5, BRANCHES, one(0), True), 1, element=TensorProto.DOUBLE)


def classifiers():
    def make(name, votes, labels, transform="NONE", base=None, missing=False):
        trees = Trees(21, 3, 3, BRANCHES[:2], votes, missing)
        kinds = trees.attributes(("class", "class_ids"))
        text = isinstance(labels[0], str)
        kinds["classlabels_strings" if text else "classlabels_int64s"] = labels
        kinds["post_transform"] = transform
        if base is not None:
            kinds["base_values"] = base
        outputs = [("label", TensorProto.STRING if text else TensorProto.INT64), ("scores", TensorProto.FLOAT)]
        save("made", f"classifier_{name}", graph("TreeEnsembleClassifier", outputs, 1, kinds), 4)

    # In two more cases of two classes onnxruntime leaves the second score unset: PROBIT with votes for
    # the first class only, and one base value where a row has no vote for the second.
    for transform in TRANSFORMS:
        for base in (None, [0.3], [0.3, -0.2]):
            kind = f"{transform.lower()}{'' if base is None else f'_base_{len(base)}'}"
            if transform != "PROBIT":
                make(f"first_{kind}", one(0), [5, 7], transform, base)
                make(f"first_positive_{kind}", one(0, 0.0, 0.4), [5, 7], transform, base)
            make(f"second_{kind}", one(1), [5, 7], transform, base)
            make(f"both_{kind}", each(2), [5, 7], transform, base)
        make(f"three_{transform.lower()}", each(3), [3, -1, 8], transform)
        make(f"three_{transform.lower()}_base", some(3), [3, -1, 8], transform, [0.5, -0.5, 0.25])
    make("three_some", some(3), [3, -1, 8])
    make("three_either", either(3), [3, -1, 8])
    make("either", either(2), [5, 7])
    make("texts_two", each(2), ["no", "yes"])
    make("texts_first", one(0), ["no", "yes"], "LOGISTIC")
    make("texts_three", each(3), ["a", "b", "c"], "SOFTMAX", missing=True)
    make("single", one(0), [5])
    make("single_base", one(0), [5], "LOGISTIC", [0.5])


def ensembles():
    """TreeEnsemble of version 5."""
    element = {np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE}

    def make(name, dtype, modes, targets, missing, aggregate=1, transform=0, seed=31, spread=30):
        random = np.random.default_rng(seed)
        nodes, leaves, roots, members = [], [], [], []

        def leaf():
            leaves.append((int(random.integers(0, targets)), random.normal()))
            return len(leaves) - 1, 1

        def node(depth):
            number = len(nodes)
            nodes.append(None)
            mode = int(random.choice(modes))
            sets = []
            if mode == 6:
                sets = random.choice(np.arange(1, spread), random.integers(1, 6), replace=False).tolist()
            split = float(dtype(random.normal() * 2))
            mine = [int(random.integers(0, 4)), mode, 0.0 if sets else split, int(random.random() < 0.5)]
            nodes[number] = mine
            members_of[number] = sets
            for _ in range(2):
                last = depth == 4 or (depth > 0 and random.random() < 0.3)
                mine.extend(leaf() if last else (node(depth + 1), 0))
            return number

        for _ in range(6):
            members_of = {}
            roots.append(node(0))
            members.extend(members_of[n] for n in sorted(members_of) if members_of[n])
        flat = [value for one_set in members for value in [*one_set, np.nan]][:-1]
        make_tensor = lambda values: helper.make_tensor("t", element[dtype], [len(values)], values)
        kinds = {
            "n_targets": targets,
            "aggregate_function": aggregate,
            "post_transform": transform,
            "tree_roots": roots,
            "nodes_featureids": [n[0] for n in nodes],
            "nodes_modes": helper.make_tensor("m", TensorProto.UINT8, [len(nodes)], [n[1] for n in nodes]),
            "nodes_splits": make_tensor([n[2] for n in nodes]),
            "nodes_truenodeids": [n[4] for n in nodes],
            "nodes_trueleafs": [n[5] for n in nodes],
            "nodes_falsenodeids": [n[6] for n in nodes],
            "nodes_falseleafs": [n[7] for n in nodes],
            "leaf_targetids": [leaf[0] for leaf in leaves],
            "leaf_weights": make_tensor([float(dtype(leaf[1])) for leaf in leaves]),
        }
        if missing:
            kinds["nodes_missing_value_tracks_true"] = [n[3] for n in nodes]
        if flat:
            kinds["membership_values"] = make_tensor([float(value) for value in flat])
        model = graph("TreeEnsemble", [("y", element[dtype])], 5, kinds, element[dtype])
        # onnxruntime takes 1 for LOGISTIC and 2 for SOFTMAX; the specification says the opposite.
        kinds["post_transform"] = {1: 2, 2: 1}.get(transform, transform)
        asked = graph("TreeEnsemble", [("y", element[dtype])], 5, kinds, element[dtype])
        like = random.integers(0, spread, (64, 4)) if flat else None
        save("made", f"ensemble_{name}", model, 4, asked=asked, dtype=dtype, like=like)

    make("all_modes", np.float32, range(6), 1, False)
    make("all_modes_missing", np.float32, range(6), 2, True)
    make("double", np.float64, range(6), 3, True, aggregate=0)
    make("min", np.float32, [0], 2, False, aggregate=2)
    make("max", np.float32, [1], 2, False, aggregate=3)
    make("softmax", np.float32, [0], 3, False, transform=1)
    make("logistic", np.float32, [0], 2, False, transform=2)
    make("members", np.float32, [0, 6], 2, False)
    make("members_missing", np.float32, [0, 6], 2, True, seed=32)
    make("members_wide", np.float32, [6], 1, False, seed=33, spread=500)
    make("members_double", np.float64, [6], 1, False, seed=34)


if __name__ == "__main__":
    helper.make_attribute = tolerant(helper.make_attribute)
    for part in (scikit_learn, boosting, regressors, classifiers, ensembles):
        part()
    files = list(HERE.glob("*/*"))
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
