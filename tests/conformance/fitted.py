"""Models fitted here by scikit-learn, XGBoost and LightGBM, exported as their exporters do it by default,
and nets as PyTorch exports them. The expected answers are those of onnxruntime, on random rows and on
rows at the edge: NaN, infinities, zeros, huge numbers, categories that fitting has not seen.

usage: fitted.py FOLDER
"""

import sys
import warnings

import numpy
import onnxruntime
import zoo
from layout import write

ROWS = (1, 2, 33)


def main():
    root = sys.argv[1]
    warnings.simplefilter("ignore")
    onnxruntime.set_default_logger_severity(4)
    for name, model, make_inputs in zoo.models():
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        sets = [answered(session, inputs) for inputs in inputs_of(make_inputs)]
        write(root, "models", name, model, [data for data in sets if data])


def inputs_of(make_inputs):
    """Batches of several sizes, and each row of the edge alone, so that one that fails hides no other."""
    for rows in ROWS:
        yield make_inputs(rows, seed=rows)
    edge = make_inputs(0, seed=0)
    for row in range(len(next(iter(edge.values())))):
        yield {name: values[row : row + 1] for name, values in edge.items()}


def answered(session, inputs):
    """The inputs in the session's order with its answers, or nothing where it fails."""
    wanted = [declared.name for declared in session.get_inputs()]
    try:
        answers = session.run(None, {name: as_map(inputs[name]) for name in wanted})
    except Exception as error:  # onnxruntime has no narrower type; some operators refuse NaN
        print(f"onnxruntime refuses an input: {str(error).splitlines()[0][:120]}", file=sys.stderr)
        return None
    return [as_row(inputs[name]) for name in wanted], [flat(answer) for answer in answers]


def as_map(value):
    """A row of keys and numbers as onnxruntime takes it."""
    return value.copy().pop() if isinstance(value, zoo.Keyed) else value


def as_row(value):
    """The same as the gateway takes it: a column for each key that the model knows."""
    if isinstance(value, zoo.Keyed):
        row = value.copy().pop()
        return numpy.array([[row.get(key, 0.0) for key in value.vocabulary]], numpy.float32)
    return value


def flat(answer):
    """Scores as a matrix where the model returns a list of maps, in the order of the first one's keys."""
    if isinstance(answer, list):
        return numpy.array([list(scores.values()) for scores in answer], numpy.float32)
    return answer


if __name__ == "__main__":
    main()
