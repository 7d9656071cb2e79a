"""Functions of one or two numbers, over their whole range. Owns which functions and which numbers."""

import itertools
import math

import numpy
from one_node import Case
from onnx import helper

INFINITE = [numpy.inf, -numpy.inf, numpy.nan]
LARGE = [10.0, 15.0, 20.0, 30.0, 50.0, 87.5, 89.0, 100.0, 104.0, 1000.0, 1e4, 1e10, 1e30, 3e38]
SMALL = [1e-30, 1e-10, 1e-4, 0.01, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.5]
NUMBERS = [0.0, -0.0] + [sign * x for x in SMALL + LARGE for sign in (1.0, -1.0)] + INFINITE
FEW = [0.0, -0.0, 1e-10, 0.5, -0.5, 1.0, -1.0, 2.0, -3.0, 7.5, 100.0, -100.0, 1e30, -1e30, *INFINITE]
UNARY = [
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "HardSwish",
    "Identity", "IsInf", "IsNaN", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh",
    "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "Elu", "Selu", "Celu", "LeakyRelu", "HardSigmoid", "ThresholdedRelu",
    "Shrink", "Gelu", "Swish",
]  # fmt: skip
VARIANTS = {
    "Elu": [{"alpha": 2.5}, {"alpha": 0.1}],
    "Selu": [{"alpha": 1.2, "gamma": 3.0}],
    "Celu": [{"alpha": 2.5}, {"alpha": 0.1}],
    "LeakyRelu": [{"alpha": 0.3}, {"alpha": 1.5}, {"alpha": 0.0}, {"alpha": -0.5}],
    "HardSigmoid": [{"alpha": 0.5, "beta": 0.6}],
    "ThresholdedRelu": [{"alpha": 3.0}, {"alpha": -2.0}],
    "Shrink": [{"lambd": 1.5, "bias": 1.5}, {"lambd": 2.0}],
    "Gelu": [{"approximate": "tanh"}],
    "IsInf": [{"detect_negative": 0}, {"detect_positive": 0}],
}
SINCE = {"Gelu": 20, "Swish": 24, "IsInf": 20, "IsNaN": 20}
BINARY = ["Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Max", "Min", "Mean", "Sum", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]
WHOLE = {
    numpy.int32: [0, 1, -1, 2, -2, 3, 7, -7, 46341, 2**31 - 1, -(2**31)],
    numpy.int64: [0, 1, -1, 2, -2, 3, 7, -7, 3037000500, 2**53 + 1, 2**63 - 1, -(2**63)],
    numpy.uint8: [0, 1, 2, 3, 7, 16, 127, 128, 200, 255],
    numpy.int8: [0, 1, -1, 2, 3, -7, 16, 127, -127, -128],
    numpy.uint16: [0, 1, 2, 7, 255, 256, 40000, 65535],
    numpy.int16: [0, 1, -1, 7, 255, -256, 32767, -32768],
    numpy.uint32: [0, 1, 2, 7, 65536, 2**31, 2**32 - 1],
    numpy.uint64: [0, 1, 2, 7, 2**32, 2**53 + 1, 2**63, 2**64 - 1],
}
CASTS = [numpy.float32, numpy.float64, *WHOLE, numpy.bool_]




def logistic(x):
    return numpy.where(x < 0, numpy.exp(numpy.minimum(x, 0)), 1) / (1 + numpy.exp(-numpy.abs(x)))


def softened(x):
    return numpy.maximum(x, 0) + numpy.log1p(numpy.exp(-numpy.abs(x)))


def gelu(x):
    return 0.5 * x * numpy.vectorize(math.erfc)(-x / math.sqrt(2))


def tanh_gelu(x):
    return x * logistic(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def negative(x, alpha, width, gamma):
    return gamma * numpy.where(x < 0, alpha * numpy.expm1(numpy.minimum(x, 0) / width), x)


# What onnxruntime approximates and does not have in double precision.
EXACT = {
    "Celu": lambda x, alpha=1.0: negative(x, alpha, alpha, 1.0),
    "Elu": lambda x, alpha=1.0: negative(x, alpha, 1.0, 1.0),
    "Selu": lambda x, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875: negative(x, alpha, 1.0, gamma),
    "Gelu": lambda x, approximate="none": gelu(x) if approximate == "none" else tanh_gelu(x),
    "HardSwish": lambda x: x * numpy.clip(x / 6 + 0.5, 0, 1),
    "Mish": lambda x: x * numpy.tanh(softened(x)),
    "Sigmoid": logistic,
    "Softplus": softened,
    "Swish": lambda x, alpha=1.0: x * logistic(alpha * x),
    "Erf": numpy.vectorize(math.erf),
    "Sinh": numpy.sinh,
    "Cosh": numpy.cosh,
    "Tan": numpy.tan,
    "Asinh": numpy.arcsinh,
    "Acosh": numpy.arccosh,
    "Atanh": numpy.arctanh,
}


def exact(operator, attributes):
    """What is right in double precision: a function, or onnxruntime's own."""
    function = EXACT.get(operator)
    return True if function is None else lambda x: function(x, **attributes)


def cases():
    for operator in UNARY:
        for attributes in [{}, *VARIANTS.get(operator, [])]:
            for dtype in (numpy.float32, numpy.float64):
                numbers = numpy.array(NUMBERS, dtype)
                answer = exact(operator, attributes)
                yield Case(operator, [numbers], exact=answer, opset=SINCE.get(operator, 22), **attributes)
    yield from whole_unary()
    yield from clips()
    yield from binary()
    yield from casts()
    yield from truths()
    numbers = numpy.array(NUMBERS, numpy.float32)
    yield Case("Gelu", [numbers], domain="com.microsoft", exact=gelu)
    yield Case("QuickGelu", [numbers], domain="com.microsoft", exact=lambda x: x * logistic(numpy.float32(1.702) * x))
    yield Case("QuickGelu", [numbers], domain="com.microsoft", exact=lambda x: x * logistic(0.5 * x), alpha=0.5)
    around = numpy.linspace(-6, 6, 241).astype(numpy.float32)
    for numbers in (numbers, around):
        yield Case("FastGelu", [numbers], domain="com.microsoft", exact=tanh_gelu)
        bias = numpy.linspace(-1, 1, len(numbers)).astype(numpy.float32)
        for operator, function in (("BiasGelu", gelu), ("FastGelu", tanh_gelu)):
            answer = lambda x, bias, function=function: function((x + bias).astype(numpy.float32).astype(numpy.float64))
            yield Case(operator, [numbers[None], bias], domain="com.microsoft", exact=answer)


def whole_unary():
    for operator in ("Abs", "Neg", "Sign", "Relu", "BitwiseNot"):
        for dtype, numbers in WHOLE.items():
            yield Case(operator, [numpy.array(numbers, dtype)], opset=18)


def clips():
    for dtype in (numpy.float32, numpy.float64):
        numbers = numpy.array(NUMBERS, dtype)
        for low, high in ((0, 6), (-1e30, 1e30), (3, 1), (None, 6), (-2, None), (-numpy.inf, numpy.inf)):
            bounds = [None if bound is None else numpy.array(bound, dtype) for bound in (low, high)]
            yield Case("Clip", [numbers, *bounds], constants=[1, 2] if None not in bounds else [at for at in (1, 2) if bounds[at - 1] is not None])
        # With bounds that come with each request.
        for bounds in ((0, 6), (3, 1), (-1e30, 1e30)):
            yield Case("Clip", [numbers, *(numpy.array(bound, dtype) for bound in bounds)])
        yield Case("Clip", [numbers, None, numpy.array(3, dtype)])
    for dtype in (numpy.int32, numpy.int64, numpy.int8, numpy.uint8):
        bounds = [numpy.array(bound, dtype) for bound in (1, 7)]
        yield Case("Clip", [numpy.array(WHOLE[dtype], dtype), *bounds], constants=[1, 2])
        yield Case("Clip", [numpy.array(WHOLE[dtype], dtype), bounds[0], None], constants=[1])
        yield Case("Clip", [numpy.array(WHOLE[dtype], dtype), None, bounds[1]], constants=[2])


def binary():
    for operator in BINARY:
        for dtype in (numpy.float32, numpy.float64):
            pairs = numpy.array(list(itertools.product(FEW, FEW)), dtype).T
            yield Case(operator, [pairs[0], pairs[1]], exact=dtype == numpy.float32 or None)
            for number in (0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 3.0, 1e30, numpy.nan, numpy.inf):
                constant = numpy.array([number], dtype)
                yield Case(operator, [numpy.array(FEW, dtype), constant], constants=[1], exact=dtype == numpy.float32 or None)
                if operator != "PRelu":
                    yield Case(operator, [constant, numpy.array(FEW, dtype)], constants=[0], exact=dtype == numpy.float32 or None)
        for dtype, numbers in WHOLE.items():
            pairs = numpy.array(list(itertools.product(numbers, numbers)), dtype).T
            divides = operator == "Div" and dtype in (numpy.int32, numpy.int64)
            if operator == "Div":
                fits = (pairs[1] != 0) & ~((pairs[0] == numbers[-1]) & (pairs[1].astype(numpy.float64) == -1))
                pairs = pairs[:, fits]
            if operator == "Pow" and dtype in (numpy.int32, numpy.int64):
                pairs = pairs[:, (pairs[1] >= 0) & (pairs[1] < 8) & (numpy.abs(pairs[0].astype(numpy.float64)) < 10)]
            yield Case(operator, [pairs[0], pairs[1]])
            if divides:
                for divisor in (1, 2, -2, 3, 7, 8):
                    yield Case(operator, [numpy.array(numbers, dtype), numpy.array([divisor], dtype)], constants=[1])
    for dtype, numbers in WHOLE.items():
        pairs = numpy.array(list(itertools.product(numbers, numbers)), dtype).T
        fits = (pairs[1] != 0) & ~((pairs[0] == numbers[-1]) & (pairs[1].astype(numpy.float64) == -1))
        for fmod in (0, 1):
            yield Case("Mod", [pairs[0][fits], pairs[1][fits]], fmod=fmod)
        for operator in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            yield Case(operator, [pairs[0], pairs[1]])
        if dtype in (numpy.uint8, numpy.uint16, numpy.uint32, numpy.uint64):
            by = pairs[1] % (8 * numpy.dtype(dtype).itemsize)
            for direction in ("LEFT", "RIGHT"):
                yield Case("BitShift", [pairs[0], by.astype(dtype)], direction=direction)
    pairs = numpy.array(list(itertools.product(FEW, FEW)), numpy.float32).T
    yield Case("Mod", [pairs[0], pairs[1]], fmod=1)
    for exponent in (0.0, 1.0, 2.0, 3.0, 4.0, -1.0, -2.0, 0.5, -0.5, 0.25, 1.5, 7.0):
        yield Case("Pow", [numpy.array(NUMBERS, numpy.float32), numpy.array(exponent, numpy.float32)], constants=[1])
    for exponent in (0, 1, 2, 3, 5, -1, -2):
        yield Case("Pow", [numpy.array(NUMBERS, numpy.float32), numpy.array(exponent, numpy.int64)], constants=[1])
        if exponent >= 0:
            small = numpy.array([0, 1, -1, 2, 3, -7], numpy.int64)
            yield Case("Pow", [small, numpy.array(exponent, numpy.int64)], constants=[1])


def casts():
    floats = [x for x in NUMBERS if not numpy.isfinite(x) or abs(x) < 1e38] + [2147483648.0, 4294967296.0, 9.3e18, -9.3e18, 1.9e19, 255.0, 256.0, 300.0, -300.0, 70000.0, -70000.0]
    for source, target in itertools.product(CASTS, CASTS):
        if source == numpy.bool_:
            numbers = numpy.array([True, False])
        else:
            numbers = numpy.array(floats if source in (numpy.float32, numpy.float64) else WHOLE[source], source)
        yield Case("Cast", [numbers], to=helper.np_dtype_to_tensor_dtype(numpy.dtype(target)))
        yield Case("CastLike", [numbers, numpy.zeros(1, target)], opset=19)


def truths():
    pairs = numpy.array(list(itertools.product([False, True], [False, True]))).T
    for operator in ("And", "Or", "Xor", "Equal"):
        yield Case(operator, [pairs[0], pairs[1]])
    yield Case("Not", [numpy.array([True, False])])
    numbers = numpy.array(FEW, numpy.float32)
    yield Case("Where", [numbers > 0, numbers, numbers[::-1].copy()])
    yield Case("Where", [numbers > 0, numbers, numpy.array([7.0], numpy.float32)], constants=[2])
