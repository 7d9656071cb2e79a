"""Operators on values that their own test data leaves out: large ones, tiny ones, NaN and infinities, shapes and
attributes drawn at random, and those of `com.microsoft`.

A function of single numbers is held against the same in double precision, rounded afterwards. All else is held against
onnxruntime, but for three things in which it is not consistent: a largest or smallest number of several of which one is
NaN is NaN; a Resize must agree with the reference of the `onnx` package too; and there NaN is wherever it has a weight
(onnxruntime lets it spread to the place before, the reference to the place behind).

usage: values.py FOLDER
"""

import sys
import warnings

import contrib
import drawn
import numpy
import onnxruntime
import pointwise
from layout import write
from onnx.reference import ReferenceEvaluator


def main():
    root = sys.argv[1]
    warnings.simplefilter("ignore")
    numpy.seterr(all="ignore")
    onnxruntime.set_default_logger_severity(4)
    written = {}
    for kind, cases in (("values", pointwise.cases()), ("drawn", drawn.cases()), ("contrib", contrib.cases())):
        for case in cases:
            answer = answered(case)
            if answer:
                number = written[kind, case.name] = written.get((kind, case.name), -1) + 1
                write(root, kind, f"{case.name}_{number}", *answer)


def answered(case):
    """The model and its data sets, or nothing where there is no answer to compare with."""
    model = case.model()
    try:
        answers = run(model, case, case.sets)
    except Exception as error:  # onnxruntime has no narrower type
        print(f"onnxruntime refuses {case.name}: {str(error).splitlines()[0][:150]}", file=sys.stderr)
        return None
    if case.exact:
        answers = [exactly(case, values, answer) for values, answer in zip(case.sets, answers)]
    if case.extreme:
        answers = with_missing(model, case, answers)
    if case.spreads:
        answers = spread(model, case)
    case.declare(model, [answer.dtype for answer in answers[0]])
    if case.operator == "Resize" and not agrees(model, case, answers):
        return None
    return model, list(zip(case.sets, answers))


def run(model, case, sets):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, case.named(values)) for values in sets]


def exactly(case, values, answer):
    """The answer in double precision, rounded; the given one where onnxruntime has no such form."""
    wide = [x.astype(numpy.float64) if x.dtype == numpy.float32 else x for x in values]
    if callable(case.exact):
        exact = [case.exact(*wide)]
    else:
        try:
            exact = run(case.model(double=True), case, [wide])[0]
        except Exception:  # onnxruntime has no narrower type
            return answer
    return [wide.astype(narrow.dtype) for wide, narrow in zip(exact, answer)]


def with_missing(model, case, answers):
    """The answers with NaN wherever one took part, which the model finds itself."""
    marks = [[marked(x, case.extreme) for x in values] for values in case.sets]
    for answer, found in zip(answers, run(model, case, marks)):
        if answer[0].dtype.kind == "f":
            answer[0][found[0] == case.extreme] = numpy.nan
    return answers


def marked(array, mark):
    return (mark * numpy.isnan(array)).astype(array.dtype) if array.dtype.kind == "f" else array


def spread(model, case):
    """The answers with NaN wherever it makes a difference what stands in its place."""
    answers, others = (
        run(model, case, [[instead(x, number) for x in values] for values in case.sets]) for number in (0.0, 1000.0)
    )
    return [[numpy.where(a == b, a, numpy.nan).astype(a.dtype) for a, b in zip(*pair)] for pair in zip(answers, others)]


def instead(array, number):
    return numpy.nan_to_num(array, nan=number, posinf=numpy.inf, neginf=-numpy.inf) if array.dtype.kind == "f" else array


def agrees(model, case, answers):
    """Whether the reference has the same answers on numbers. It lacks the oldest versions."""
    try:
        reference = ReferenceEvaluator(model)
        sets = [values for values in case.sets if not numpy.isnan(values[0]).any()]
        found = [reference.run(None, case.named(values))[0] for values in sets]
    except Exception:  # the reference raises what it likes
        return case.opset < 11 and all(values[0].shape[2:] != answer[0].shape[2:] for values, answer in zip(case.sets, answers))
    same = [
        expected[0].shape == other.shape and numpy.allclose(expected[0], other, rtol=1e-4, atol=1e-5)
        for expected, other in zip(answers, found)
    ]
    if not all(same):
        print(f"onnxruntime and the reference differ in {case.name} {case.attributes}", file=sys.stderr)
    return all(same)


if __name__ == "__main__":
    main()
