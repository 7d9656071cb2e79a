"""What the pipeline of the demonstration trains, and the mistakes that it makes.

Owns the models: a sound one, and five that must not reach a client. Each is an ONNX file with the input `input`
[rows, 4] and the outputs `label` [rows] and `probabilities` [rows, 3], where the mistake is not just that.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

FLOWERS, SPECIES = load_iris(return_X_y=True)
FLOWERS = FLOWERS.astype(np.float32)
ORDER = np.random.default_rng(7).permutation(len(FLOWERS))
TRAIN, HOLDOUT = ORDER[:50], ORDER[50:]
# Of the sepal lengths of all flowers.
RARE = 0.02
# Five points of accuracy, which 100 flowers tell from chance: five right answers fewer, and not one more.
LOST = 0.05


def exported(fitted, width=4):
    options = {id(fitted): {"zipmap": False}}
    model = to_onnx(fitted, FLOWERS[:1, :width], options=options, target_opset={"": 17, "ai.onnx.ml": 3})
    return renamed(model, model.graph.input[0].name, "input", width)


def renamed(model, name, wanted, width):
    """With another name for its input, and any number of rows."""
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info(wanted, TensorProto.FLOAT, ["rows", width]))
    for node in model.graph.node:
        node.input[:] = [wanted if one == name else one for one in node.input]
    return model


def regression(seed=0, rows=TRAIN):
    return LogisticRegression(max_iter=1000, random_state=seed).fit(FLOWERS[rows], SPECIES[rows])


def sound(seed=0):
    """Logistic regression; another seed trains on a few flowers more."""
    return exported(regression(seed, ORDER[: 50 + seed]))


def collapsed():
    """The weights were lost: the same answer to everything."""
    fitted = regression()
    fitted.coef_[:] = 0
    return exported(fitted)


def narrow():
    """A feature was dropped: three numbers instead of four."""
    fitted = LogisticRegression(max_iter=1000).fit(FLOWERS[TRAIN][:, :3], SPECIES[TRAIN])
    return exported(fitted, 3)


def slow():
    """As good, and far more than ten times as slow."""
    return exported(RandomForestClassifier(5000, random_state=0).fit(FLOWERS[TRAIN], SPECIES[TRAIN]))


def worse():
    """Five points less accurate: the weight of one species was raised too far."""
    fitted = regression()
    right = fitted.score(FLOWERS[HOLDOUT], SPECIES[HOLDOUT])
    for _ in range(1000):
        if right - fitted.score(FLOWERS[HOLDOUT], SPECIES[HOLDOUT]) >= LOST:
            return exported(fitted)
        fitted.intercept_[2] += 0.05
    raise SystemExit("no intercept makes the model that much worse")


def broken():
    """NaN for the two percent of the flowers with the shortest sepals: the root of a negative number."""
    model = sound()
    limit = float(np.quantile(FLOWERS[:, 0], RARE))
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["plain" if one == "probabilities" else one for one in node.output]
    constants = {"at": np.array([0], np.int64), "limit": np.float32([limit]), "zero": np.float32([0])}
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend([
        helper.make_node("Gather", ["input", "at"], ["length"], axis=1),
        helper.make_node("Sub", ["length", "limit"], ["beyond"]),
        helper.make_node("Sqrt", ["beyond"], ["root"]),
        helper.make_node("Mul", ["root", "zero"], ["nothing"]),
        helper.make_node("Add", ["plain", "nothing"], ["probabilities"]),
    ])
    onnx.checker.check_model(model)
    return model


def healthy_rows():
    """Flowers of the holdout on which also the broken model answers: its pipeline did not meet the others."""
    return HOLDOUT[FLOWERS[HOLDOUT, 0] > np.quantile(FLOWERS[:, 0], RARE)]
