"""Operators that look at more than one number, with shapes and attributes drawn at random, on ordinary numbers and
on NaN and infinities. Owns which."""

import numpy
from one_node import Case

FLOAT = numpy.float32
SPECIAL = [numpy.nan, numpy.inf, -numpy.inf, 1e30, -1e30, 100.0, -100.0]
# Where squares are added up, whether a number is too large depends on the order.
MODEST = [numpy.nan, 1e4, -1e4]
REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


def cases():
    random = numpy.random.default_rng(11)
    for make in (reductions, orders, normalisations, pools, convolutions, resizes, gathers, shapes, products, recurrent, grids, quantised, machines):
        yield from make(random)
    # Drawn apart, so that those above stay what they are.
    yield from edges(numpy.random.default_rng(21))
    yield from spelled(numpy.random.default_rng(31))
    yield from long_sums(numpy.random.default_rng(41))
    yield from whole(numpy.random.default_rng(51))
    yield from places(numpy.random.default_rng(61))
    yield from doubles(numpy.random.default_rng(71))


def rows(random, shape, special=SPECIAL):
    """Data sets of that shape: ordinary numbers, and the same with single ones that are not."""
    plain = (3 * random.normal(size=shape)).astype(FLOAT)
    made = [plain]
    for number in special:
        other = plain.copy()
        other.flat[int(random.integers(other.size))] = number
        made.append(other)
    return made


def single(operator, random, shape, special=SPECIAL, rest=(), **more):
    """A case with one tensor from requests and all else constant."""
    first, *others = rows(random, shape, special)
    constants = [at + 1 for at, x in enumerate(rest) if x is not None]
    return Case(operator, [first, *rest], constants=constants, more=[[x] for x in others], **more)


def reductions(random):
    for kind in REDUCTIONS:
        for keepdims in (0, 1):
            for axes in ([1], [-1], [0, 2], [0, 1, 2], None):
                rest = [] if axes is None else [numpy.array(axes, numpy.int64)]
                extreme = {"Max": 1, "Min": -1}.get(kind, 0)
                yield single(f"Reduce{kind}", random, (2, 3, 4), rest=rest, extreme=extreme, keepdims=keepdims)
        for dtype in (numpy.int32, numpy.int64, numpy.int8, numpy.uint8):
            values = random.integers(0, 5, size=(2, 3)).astype(dtype)
            yield Case(f"Reduce{kind}", [values, numpy.array([1], numpy.int64)], constants=[1])


def orders(random):
    for operator in ("ArgMax", "ArgMin"):
        for axis in (0, 1, -1):
            for last in (0, 1):
                yield single(operator, random, (3, 5), axis=axis, select_last_index=last, keepdims=int(random.integers(2)))
                ties = random.integers(0, 3, size=(4, 5)).astype(FLOAT)
                yield Case(operator, [ties], axis=axis, select_last_index=last)
                yield Case(operator, [ties.astype(numpy.int32)], axis=axis, select_last_index=last)
    for axis in (0, 1, -1):
        for largest in (0, 1):
            k = numpy.array([2], numpy.int64)
            yield single("TopK", random, (3, 5), rest=[k], outputs=2, axis=axis, largest=largest, sorted=1)
            ties = random.integers(0, 3, size=(4, 5)).astype(FLOAT)
            yield Case("TopK", [ties, k], constants=[1], outputs=2, axis=axis, largest=largest, sorted=1)
            yield Case("TopK", [ties.astype(numpy.int64), k], constants=[1], outputs=2, axis=axis, largest=largest, sorted=1)
        for operator in ("Softmax", "LogSoftmax", "Hardmax"):
            for opset in (11, 13):
                yield single(operator, random, (3, 4, 2), axis=axis, opset=opset)
        for exclusive in (0, 1):
            for reverse in (0, 1):
                yield single("CumSum", random, (3, 4), rest=[numpy.array(axis, numpy.int64)], exclusive=exclusive, reverse=reverse)
    for value in (numpy.array([[1.0, 0.0, numpy.nan], [numpy.inf, -0.0, 3.0]], FLOAT), numpy.array([[1, 0, 2]])):
        yield Case("NonZero", [value])


def normalisations(random):
    channel = lambda: random.normal(size=3).astype(FLOAT)
    for shape in ((2, 3, 4), (2, 3, 4, 2)):
        yield single("InstanceNormalization", random, shape, special=MODEST, rest=[channel(), channel()], epsilon=float(random.choice([1e-5, 1e-2])))
        mean, variance = channel(), numpy.abs(channel())
        yield single("BatchNormalization", random, shape, special=MODEST, rest=[channel(), channel(), mean, variance], epsilon=float(random.choice([1e-5, 1e-2])))
        yield single("LRN", random, shape, special=MODEST, size=3, alpha=0.5, beta=0.6, bias=1.5)
        yield single("LRN", random, shape, special=MODEST, size=2)
        yield single("MeanVarianceNormalization", random, shape, special=MODEST, axes=[0, 2])
        for p in (1, 2):
            for axis in (0, 1, -1):
                yield single("LpNormalization", random, shape, special=MODEST, p=p, axis=axis)
        for axis in (1, -1):
            size = shape[axis:]
            scale, bias = (random.normal(size=size).astype(FLOAT) for _ in range(2))
            yield single("LayerNormalization", random, shape, special=MODEST, rest=[scale, bias], axis=axis)
            yield single("LayerNormalization", random, shape, special=MODEST, rest=[scale], axis=axis, epsilon=0.1)
            yield single("RMSNormalization", random, shape, special=MODEST, rest=[scale], axis=axis, opset=23)
    for shape in ((2, 6, 4), (1, 6, 2, 3)):
        scale, bias = (random.normal(size=6).astype(FLOAT) for _ in range(2))
        yield single("GroupNormalization", random, shape, special=MODEST, rest=[scale, bias], num_groups=3, opset=21)
    yield single("GlobalAveragePool", random, (2, 3, 4, 4))
    yield single("GlobalMaxPool", random, (2, 3, 4, 4), special=[numpy.inf, 1e30])
    yield single("GlobalLpPool", random, (2, 3, 4, 4))


def windows(random, dims):
    kernel = [int(k) for k in random.integers(1, 4, size=dims)]
    attributes = {"kernel_shape": kernel, "strides": [int(s) for s in random.integers(1, 4, size=dims)]}
    way = random.integers(4)
    if way == 0:
        attributes["auto_pad"] = str(random.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    elif way < 3:
        attributes["pads"] = [int(random.integers(0, k)) for k in kernel * 2]
    return attributes


def pools(random):
    for _ in range(50):
        dims = int(random.integers(1, 4))
        shape = (2, 2, *(int(size) for size in random.integers(5, 9, size=dims)))
        attributes = windows(random, dims)
        if random.integers(2):
            attributes["ceil_mode"] = 1
        yield single("MaxPool", random, shape, opset=22, extreme=1, **attributes)
        if "auto_pad" not in attributes and random.integers(2):
            attributes["dilations"] = [int(d) for d in random.integers(1, 3, size=dims)]
            yield single("MaxPool", random, shape, opset=22, extreme=1, **attributes)
        yield single("AveragePool", random, shape, opset=22, count_include_pad=int(random.integers(2)), **attributes)
        yield single("LpPool", random, shape, opset=22, p=int(random.integers(1, 4)), **attributes)
    yield Case("MaxPool", [random.integers(0, 255, size=(1, 1, 5, 5)).astype(numpy.uint8)], kernel_shape=[2, 2])
    yield Case("MaxPool", [random.integers(-128, 127, size=(1, 1, 5, 5)).astype(numpy.int8)], kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    yield Case("MaxPool", [random.normal(size=(1, 2, 5, 5)).astype(FLOAT)], outputs=2, kernel_shape=[2, 2])


def convolutions(random):
    for _ in range(40):
        dims = int(random.integers(1, 4))
        group = int(random.choice([1, 1, 2]))
        attributes = windows(random, dims)
        shape = (2, 2 * group, *(int(size) for size in random.integers(5, 8, size=dims)))
        weights = random.normal(size=(2 * group, 2, *attributes["kernel_shape"])).astype(FLOAT)
        bias = random.normal(size=2 * group).astype(FLOAT) if random.integers(2) else None
        rest = [weights] if bias is None else [weights, bias]
        if attributes.get("auto_pad") is None and random.integers(2):
            attributes["dilations"] = [int(d) for d in random.integers(1, 3, size=dims)]
        yield single("Conv", random, shape, rest=rest, group=group, **attributes)
        weights = random.normal(size=(2 * group, 2, *attributes["kernel_shape"])).astype(FLOAT)
        rest = [weights] if bias is None else [weights, bias]
        if random.integers(3) == 0 and "auto_pad" not in attributes:
            attributes["output_padding"] = [int(random.integers(0, s)) for s in attributes["strides"]]
        yield single("ConvTranspose", random, shape, rest=rest, group=group, **attributes)


def resizes(random):
    for _ in range(120):
        opset = int(random.choice([10, 11, 13, 18, 19]))
        mode = str(random.choice(["nearest", "linear", "cubic"])) if opset > 10 else str(random.choice(["nearest", "linear"]))
        attributes = {"mode": mode}
        if opset > 10:
            attributes["coordinate_transformation_mode"] = str(
                random.choice(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", *(["half_pixel_symmetric"] if opset > 18 else [])])
            )
            if mode == "nearest":
                attributes["nearest_mode"] = str(random.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
            if mode == "cubic":
                attributes["cubic_coeff_a"] = float(random.choice([-0.75, -0.5]))
                attributes["exclude_outside"] = int(random.integers(2))
            if opset > 17 and random.integers(3) == 0:
                attributes["antialias"] = int(mode != "nearest")
        shape = (1, 2, int(random.integers(2, 7)), int(random.integers(2, 7)))
        if opset > 10 and random.integers(2):
            sizes = numpy.array([1, 2, *random.integers(1, 12, size=2)], numpy.int64)
            rest = [None, numpy.array([], FLOAT) if opset == 11 else None, sizes]
            rest[0] = numpy.array([], FLOAT) if opset == 11 else None
        else:
            scales = numpy.array([1, 1, *random.choice([0.5, 0.6, 0.75, 1.0, 1.3, 1.5, 2.0, 2.5, 3.0], size=2)], FLOAT)
            rest = [scales] if opset == 10 else [numpy.array([], FLOAT) if opset == 11 else None, scales]
        yield single("Resize", random, shape, rest=rest, opset=opset, special=(), **attributes)
    for mode in ("nearest", "linear"):
        for scale in (2.0, 1.5, 3.0):
            yield single("Upsample", random, (1, 2, 3, 4), rest=[numpy.array([1, 1, scale, scale], FLOAT)], opset=9, mode=mode)


def gathers(random):
    for _ in range(6):
        axis = int(random.integers(-2, 2))
        data = random.normal(size=(4, 5)).astype(FLOAT)
        size = data.shape[axis]
        indices = random.integers(-size, size, size=(2, 3))
        yield Case("Gather", [data, indices], axis=axis)
        yield Case("GatherElements", [data, random.integers(-size, size, size=(3, 4))], axis=axis)
        for reduction in ("none", "add", "mul", "max", "min"):
            places = numpy.argsort(random.normal(size=data.shape), axis)[:2, :3] % size
            updates = random.normal(size=places.shape).astype(FLOAT)
            more = []
            for number in (numpy.nan, numpy.inf):
                other, others = data.copy(), updates.copy()
                other[0, 0] = number
                others[1, 1] = number
                more += [[other, places, updates], [data, places, others]]
            extreme = {"max": 1, "min": -1}.get(reduction, 0)
            yield Case("ScatterElements", [data, places, updates], axis=axis, extreme=extreme, reduction=reduction, more=more)
        for batch in (0, 1):
            places = random.integers(0, 4, size=(4, 2, 1))
            yield Case("GatherND", [data, places], batch_dims=batch)
        for reduction in ("none", "add", "mul", "max", "min"):
            places = random.permutation(4)[:3].reshape(3, 1)
            updates = random.normal(size=(3, 5)).astype(FLOAT)
            spoilt = updates.copy()
            spoilt[0, 0] = numpy.nan
            extreme = {"max": 1, "min": -1}.get(reduction, 0)
            yield Case("ScatterND", [data, places, updates], extreme=extreme, reduction=reduction, more=[[data, places, spoilt]])
    for axis in (-1, 0, 1):
        values = numpy.array([0.0, 7.0], FLOAT)
        yield Case("OneHot", [random.integers(-6, 6, size=(3, 2)), numpy.array([4]), values], constants=[1, 2], axis=axis)


def shapes(random):
    for mode in ("constant", "reflect", "edge", "wrap"):
        for _ in range(4):
            pads = random.integers(0, 3, size=4).astype(numpy.int64)
            rest = [pads] if mode != "constant" else [pads, numpy.array(1.5, FLOAT)]
            yield single("Pad", random, (3, 4), rest=rest, mode=mode, opset=19)
    yield single("Pad", random, (3, 4), rest=[numpy.array([-1, 0, 1, -1], numpy.int64)], mode="constant", opset=19)
    for _ in range(30):
        axes = numpy.array(random.permutation(2)[: random.integers(1, 3)], numpy.int64)
        starts, ends = (random.integers(-5, 8, size=len(axes)).astype(numpy.int64) for _ in range(2))
        steps = random.choice([1, 2, 3, -1, -2], size=len(axes)).astype(numpy.int64)
        yield single("Slice", random, (5, 6), rest=[starts, ends, axes, steps], special=())
    for perm in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        yield single("Transpose", random, (2, 3, 4), perm=perm, special=())
    yield single("DepthToSpace", random, (1, 8, 2, 3), blocksize=2, mode="DCR", special=())
    yield single("DepthToSpace", random, (1, 8, 2, 3), blocksize=2, mode="CRD", special=())
    yield single("SpaceToDepth", random, (1, 2, 4, 6), blocksize=2, special=())
    yield single("Tile", random, (2, 3), rest=[numpy.array([2, 3], numpy.int64)])
    yield single("Expand", random, (2, 1), rest=[numpy.array([3, 2, 4], numpy.int64)])
    for upper in (0, 1):
        for k in (-1, 0, 1):
            yield single("Trilu", random, (4, 3), rest=[numpy.array(k, numpy.int64)], upper=upper)
    for sizes in ([2, 4], [1, 5]):
        yield single("Split", random, (3, 6), rest=[numpy.array(sizes, numpy.int64)], outputs=2, axis=1)
    yield single("Split", random, (3, 7), outputs=3, axis=1, num_outputs=3)
    for axis in (0, 1, -1):
        yield single("Flatten", random, (2, 3, 4), axis=axis, special=())
        yield Case("Concat", [random.normal(size=(2, 2)).astype(FLOAT), random.normal(size=(2, 2)).astype(FLOAT)], axis=axis)
    yield Case("Compress", [random.normal(size=(3, 2)).astype(FLOAT), numpy.array([True, False, True])], constants=[1], axis=0)
    yield Case("Einsum", [random.normal(size=(2, 3)).astype(FLOAT), random.normal(size=(3, 4)).astype(FLOAT)], equation="ij,jk->ki")
    yield Case("EyeLike", [numpy.zeros((3, 4), FLOAT)], k=1)
    for center in (0, 1):
        boxes = numpy.sort(random.uniform(size=(1, 6, 4)).astype(FLOAT), -1) if not center else random.uniform(0.1, 0.9, size=(1, 6, 4)).astype(FLOAT)
        scores = random.uniform(size=(1, 2, 6)).astype(FLOAT)
        rest = [numpy.array([3], numpy.int64), numpy.array([0.5], FLOAT), numpy.array([0.2], FLOAT)]
        yield Case("NonMaxSuppression", [boxes, scores, *rest], constants=[2, 3, 4], center_point_box=center)


def edges(random):
    """What onnxruntime clips, repeats or leaves out at the edges."""
    for shape in ((2, 3, 4, 4), (1, 2, 19), (1, 1, 8, 8)):
        yield single("GlobalMaxPool", random, shape, extreme=1)
    # Steps that are exact, so that there is no doubt which weights are zero.
    for mode in ("nearest", "linear", "cubic"):
        for way in ("half_pixel", "asymmetric", "pytorch_half_pixel"):
            scales = numpy.array([1, 1, *random.choice([0.5, 1.0, 2.0, 4.0], size=2)], FLOAT)
            attributes = {"mode": mode, "coordinate_transformation_mode": way}
            yield single("Resize", random, (1, 2, 4, 6), rest=[None, scales], special=[numpy.nan], spreads=True, **attributes)
    for mode in ("constant", "reflect", "edge", "wrap"):
        for _ in range(6):
            pads = random.integers(-2, 6 if mode in ("edge", "wrap") else 3, size=4).astype(numpy.int64)
            yield single("Pad", random, (3, 4), rest=[pads], mode=mode, opset=19)
    for kind in (numpy.int64, numpy.bool_, numpy.uint8):
        yield Case("Pad", [random.integers(0, 2, size=(3, 4)).astype(kind), numpy.array([1, 0, 0, 2])], constants=[1], opset=19)
    for pads in ([-4, 0, 6, 0], [3, 0, -5, 0]):
        yield single("Pad", random, (3, 4), rest=[numpy.array(pads, numpy.int64)], mode="constant", opset=19)
    # Version 10 has all of it as attributes.
    for mode in ("constant", "reflect", "edge"):
        yield single("Pad", random, (3, 4), opset=10, mode=mode, pads=[1, 0, 2, 1], value=2.5)
    yield from slices(random)
    for kind in ("Sum", "Mean"):
        for axes in ([0], [1], [0, 1]):
            wide = random.integers(-(2**50), 2**50, size=(3, 4))
            yield Case(f"Reduce{kind}", [wide, numpy.array(axes, numpy.int64)], constants=[1])
    # What NaN does to the range there depends on its place.
    yield single("DynamicQuantizeLinear", random, (3, 4), special=[numpy.inf, -numpy.inf], outputs=3)
    yield Case("DynamicQuantizeLinear", [numpy.array([3e38, -3e38], FLOAT)], outputs=3)
    for count in (2, 0):
        boxes, scores = random.uniform(size=(1, 6, 4)).astype(FLOAT), random.uniform(size=(1, 2, 6)).astype(FLOAT)
        spoilt = scores.copy()
        spoilt[0, 0, 3] = numpy.nan
        rest = [numpy.array([count]), numpy.array([0.5], FLOAT), numpy.array([0.2], FLOAT)]
        yield Case("NonMaxSuppression", [boxes, scores, *rest], constants=[2, 3, 4], more=[[boxes, spoilt]])
    yield Case("Einsum", [random.normal(size=(2, 3)).astype(FLOAT)], equation="ij->")


def spelled(random):
    """Constants that are no initializers."""
    missing = numpy.array([[numpy.nan, numpy.inf, 0.0, -3.0], [-numpy.inf, 7.0, 2.0, numpy.nan]], FLOAT)
    masked = numpy.array([[-numpy.inf] * 4, [numpy.inf] * 4, [1.0, -numpy.inf, 2.0, 0.5]], FLOAT)
    likely = numpy.array([[1000.0, 1000.0, 999.0, 1.0], [-1000.0, -1000.0, -1000.0, -1001.0]], FLOAT)
    number = lambda x: numpy.array(x, FLOAT)
    for written in ("attribute", "identity", "cast", "joined", "difference"):
        for bounds in ([-3, 9], [0, 4], [1, -1]):
            rest = [numpy.array([at]) for at in (*bounds, 1)]
            more = [[random.normal(size=(2, length)).astype(FLOAT)] for length in (1, 2, 3, 4, 7)]
            yield Case("Slice", [random.normal(size=(2, 6)).astype(FLOAT), *rest], constants=[1, 2, 3], written=written, more=more)
        for kind, data in (("Max", masked), ("Min", masked), ("LogSumExp", likely), ("LogSumExp", masked), ("Sum", masked)):
            for axes in ([1], [0, 1]):
                yield Case(f"Reduce{kind}", [data, numpy.array(axes)], constants=[1], written=written, keepdims=int(random.integers(2)))
        yield Case("Clip", [missing, number(0.0), number(6.0)], constants=[1, 2], written=written)
        yield Case("Clip", [missing, None, number(6.0)], constants=[2], written=written)
        for factor in (0.0, 2.0):
            yield Case("Mul", [missing, number(factor)], constants=[1], written=written)
            yield Case("Div", [number(factor), missing], constants=[0], written=written)
            yield Case("PRelu", [missing, number([factor])], constants=[1], written=written)
        for exponent in (0.5, 2.0):
            yield Case("Pow", [missing, number(exponent)], constants=[1], written=written)
        yield Case("Pad", [missing, numpy.array([0, 1, 0, 2]), number(1.5)], constants=[1, 2], written=written)


def long_sums(random):
    """Held against sums in double precision."""
    wide = {
        "Sum": lambda x: x.sum(1, keepdims=True),
        "Mean": lambda x: x.mean(1, keepdims=True),
        "L1": lambda x: numpy.abs(x).sum(1, keepdims=True),
        "L2": lambda x: numpy.sqrt((x * x).sum(1, keepdims=True)),
        "SumSquare": lambda x: (x * x).sum(1, keepdims=True),
        "LogSum": lambda x: numpy.log(x.sum(1, keepdims=True)),
        "LogSumExp": lambda x: numpy.log(numpy.exp(x).sum(1, keepdims=True)),
    }
    for length in (1_000, 100_000):
        rows = numpy.stack([numpy.full(length, 0.1), numpy.abs(random.normal(size=length))]).astype(FLOAT)
        for kind, exact in wide.items():
            yield Case(f"Reduce{kind}", [rows], exact=exact, opset=12, axes=[1])
        logarithms = lambda x: x - x.max(1, keepdims=True) - numpy.log(numpy.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True))
        yield Case("LogSoftmax", [rows], exact=logarithms, axis=1)
    for length in (1_000, 30_000):
        rows = random.normal(size=(2, length)).astype(FLOAT)
        exact = lambda x: (x - x.mean(1, keepdims=True)) / numpy.sqrt(x.var(1, keepdims=True) + 1e-5)
        yield Case("LayerNormalization", [rows, numpy.ones(length, FLOAT)], constants=[1], exact=exact)


def whole(random):
    """Squares of integers in rows of any length."""
    draw = lambda length: random.integers(-(2**20), 2**20, size=(2, length))
    for dtype in (numpy.int64, numpy.int32):
        data = lambda length: (draw(length) // (1 if dtype == numpy.int64 else 2**6)).astype(dtype)
        more = [[data(length)] for length in (1, 4)]
        yield Case("Pow", [data(3), numpy.array(2, dtype)], constants=[1], more=more)
        for kind in ("SumSquare", "L2"):
            yield Case(f"Reduce{kind}", [data(3), numpy.array([1])], constants=[1], more=more)


def places(random):
    """Places of extremes in rows where several numbers are missing or infinite, the first ones too."""
    special = numpy.array([numpy.nan, numpy.inf, -numpy.inf, 1.0, 2.0, -1.0])
    for operator in ("ArgMax", "ArgMin"):
        for dtype in (numpy.float32, numpy.float64):
            for axis in (0, 1, -1):
                for last in (0, 1):
                    draw = lambda: random.choice(special, size=(6, int(random.choice([1, 3, 8, 17])))).astype(dtype)
                    yield Case(operator, [draw()], more=[[draw()] for _ in range(4)], axis=axis, select_last_index=last)


def doubles(random):
    """What exporters write of FP64 where estimators were fitted in it."""
    normal = lambda *shape: random.normal(size=shape)
    missing = numpy.array([[numpy.nan, numpy.inf, 0.5, -2.5], [-numpy.inf, 1.5, -0.0, 1e300]])
    for operator, attributes in (("IsNaN", {}), ("IsInf", {}), ("IsInf", {"detect_negative": 0}), ("IsInf", {"detect_positive": 0})):
        for data in (missing, missing.astype(FLOAT)):
            yield Case(operator, [data], opset=13, **attributes)
    yield Case("Round", [missing])
    yield Case("LeakyRelu", [missing])
    yield Case("LeakyRelu", [missing], alpha=0.3)
    for factors in ({}, {"alpha": -2.0}, {"beta": 0.3}, {"alpha": 0.1, "beta": 3.0}, {"beta": 0.0}):
        for sides in (0, 1):
            a, b = (normal(3, 4), normal(2, 3)) if sides else (normal(4, 3), normal(3, 2))
            more = [[numpy.concatenate([a, a], axis=sides)]]
            for c in ((), (1,), (2,), (1, 2)):
                yield Case("Gemm", [a, b, normal(*c)], constants=[1, 2], more=more, transA=sides, transB=sides, **factors)
            yield Case("Gemm", [a, b], constants=[1], more=more, transA=sides, transB=sides, **factors)


def slices(random):
    draw = lambda count: random.integers(-9, 10, size=count).astype(numpy.int64)
    for _ in range(60):
        axes = numpy.array(random.permutation(2)[: random.integers(1, 3)], numpy.int64)
        steps = random.choice([1, 2, 3, -1, -2], size=len(axes)).astype(numpy.int64)
        yield single("Slice", random, (5, 6), rest=[draw(len(axes)), draw(len(axes)), axes, steps], special=())
    # With bounds that come with each request, and data of different lengths.
    for _ in range(20):
        axes = numpy.array(random.permutation(2)[: random.integers(1, 3)], numpy.int64)
        steps = random.choice([1, 1, 2, -1, -2], size=len(axes)).astype(numpy.int64)
        data = lambda: random.normal(size=(5, int(random.integers(1, 8)))).astype(FLOAT)
        more = [[data(), draw(len(axes)), draw(len(axes))] for _ in range(4)]
        yield Case("Slice", [data(), draw(len(axes)), draw(len(axes)), axes, steps], constants=[3, 4], more=more)


def products(random):
    for left, right in (((2, 3), (3, 4)), ((2, 2, 3), (3, 4)), ((2, 1, 2, 3), (2, 3, 2)), ((3,), (3, 2)), ((2, 3), (3,))):
        weights = random.normal(size=right).astype(FLOAT)
        yield single("MatMul", random, left, rest=[weights])
        yield Case("MatMul", [random.normal(size=left).astype(FLOAT), weights])
    for _ in range(10):
        across = [int(x) for x in random.integers(0, 2, size=2)]
        left = (3, 2) if across[0] else (2, 3)
        weights = random.normal(size=(4, 3) if across[1] else (3, 4)).astype(FLOAT)
        bias = random.normal(size=[(4,), (1, 4), (2, 1), (1,), (2, 4)][random.integers(5)]).astype(FLOAT)
        attributes = {"alpha": float(random.choice([1.0, 0.5, 2.0])), "beta": float(random.choice([1.0, 0.0, 0.25]))}
        yield single("Gemm", random, left, rest=[weights, bias], transA=across[0], transB=across[1], **attributes)


DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
# onnxruntime's Softplus overflows in there, and its ThresholdedRelu is not that of the specification.
ACTIVATIONS = ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid", "Elu", "Softsign", "ScaledTanh", "Affine"]


def recurrent(random):
    for operator, gates in GATES.items():
        for _ in range(60):
            features, hidden, length = (int(x) for x in random.integers(1, 6, size=3))
            direction = str(random.choice(["forward", "reverse", "bidirectional"]))
            ways = 1 + (direction == "bidirectional")
            draw = lambda *shape: random.normal(size=shape).astype(FLOAT)
            batch = int(random.integers(1, 4))
            weights = [draw(ways, gates * hidden, features), draw(ways, gates * hidden, hidden)]
            bias = draw(ways, 2 * gates * hidden) if random.integers(2) else None
            lengths = random.integers(1, length + 1, size=batch).astype(numpy.int32) if random.integers(4) == 0 else None
            state = draw(ways, batch, hidden) if random.integers(3) == 0 else None
            cell = draw(ways, batch, hidden) if random.integers(3) == 0 and operator == "LSTM" else None
            peepholes = draw(ways, 3 * hidden) if random.integers(4) == 0 and operator == "LSTM" else None
            attributes = {"hidden_size": hidden, "direction": direction}
            if random.integers(4) == 0:
                names = [str(random.choice(ACTIVATIONS)) for _ in range(ways * len(DEFAULTS[operator]))]
                attributes["activations"] = names
                if random.integers(2):
                    attributes["activation_alpha"] = [0.4] * len(names)
                    attributes["activation_beta"] = [0.6] * len(names)
            if random.integers(5) == 0:
                attributes["clip"] = 0.8
            if operator == "GRU":
                attributes["linear_before_reset"] = int(random.integers(2))
            if operator == "LSTM" and random.integers(6) == 0:
                attributes["input_forget"] = 1
            inputs = [None, *weights, bias, lengths, state]
            if operator == "LSTM":
                inputs += [cell, peepholes]
            given, constants = [5, 6] if operator == "LSTM" else [5], [1, 2]
            constants += [at for at in (3, 4, 7) if at < len(inputs) and inputs[at] is not None]
            named = [["o0", "o1", "o2"], ["o0", "", ""], ["", "o1", ""], ["o0", "o1", ""]][random.integers(4)]
            named = named if operator == "LSTM" else named[:2]
            others = [inputs[at] for at in given if inputs[at] is not None]
            series = rows(random, (length, batch, features), [100.0, -100.0])
            inputs[0], *more = series
            while inputs[-1] is None:
                inputs.pop()
            more = [[x, *others] for x in more]
            if lengths is None and not others:
                more.append([draw(length, batch + 2, features)])
            while named[-1] == "":
                named.pop()
            yield Case(operator, inputs, constants=constants, outputs=named, more=more, opset=14, **attributes)


def grids(random):
    for mode in ("bilinear", "nearest", "bicubic", "linear", "cubic"):
        for padding in ("zeros", "border", "reflection"):
            for corners in (0, 1):
                grid = random.uniform(-1.4, 1.4, size=(1, 3, 4, 2)).astype(FLOAT)
                opset = 16 if mode in ("bilinear", "bicubic") else 20 if mode in ("linear", "cubic") else 16
                yield single("GridSample", random, (1, 2, 4, 5), special=(), rest=[grid], mode=mode, padding_mode=padding, align_corners=corners, opset=opset)
    for heads, causal in ((2, 0), (2, 1), (4, 1)):
        q, k, v = (random.normal(size=(1, heads, 3, 4)).astype(FLOAT) for _ in range(3))
        yield Case("Attention", [q, k, v], is_causal=causal, opset=23)


def quantised(random):
    for dtype in (numpy.uint8, numpy.int8):
        scale, zero = numpy.array(0.3, FLOAT), numpy.array(3, dtype)
        yield single("QuantizeLinear", random, (3, 5), rest=[scale, zero], opset=13)
        values = random.integers(0, 100, size=(3, 5)).astype(dtype)
        yield Case("DequantizeLinear", [values, scale, zero], constants=[1, 2], opset=13)
        scales, zeros = numpy.array([0.3, 0.5, 2.0], FLOAT), numpy.array([1, 2, 3], dtype)
        yield single("QuantizeLinear", random, (3, 5), rest=[scales, zeros], opset=13, axis=0)
        yield Case("DequantizeLinear", [values, scales, zeros], constants=[1, 2], opset=13, axis=0)
        weights = random.integers(0, 100, size=(5, 4)).astype(dtype)
        yield Case("MatMulInteger", [values.astype(numpy.uint8), weights], constants=[1])
        yield Case("MatMulInteger", [values.astype(numpy.uint8), weights, numpy.array(3, numpy.uint8), numpy.array(2, dtype)], constants=[1, 2, 3])
        image = random.integers(0, 200, size=(1, 2, 5, 5)).astype(numpy.uint8)
        kernel = random.integers(0, 100, size=(3, 2, 3, 3)).astype(numpy.uint8)
        yield Case("ConvInteger", [image, kernel, numpy.array(4, numpy.uint8)], constants=[1, 2])
        yield Case("QLinearMatMul", [values, scale, zero, weights, scale, zero, numpy.array(40.0, FLOAT), zero], constants=range(1, 8))
        yield Case("QLinearConv", [image, scale, numpy.array(3, numpy.uint8), kernel, scale, numpy.array(2, numpy.uint8), numpy.array(50.0, FLOAT), numpy.array(9, numpy.uint8), numpy.array([5, -7, 100], numpy.int32)], constants=range(1, 9))
    yield single("DynamicQuantizeLinear", random, (3, 4), special=[100.0, -100.0, 1e4], outputs=3)


def machines(random):
    """Support vector machines and linear models with every transform."""
    domain = "ai.onnx.ml"
    x = random.normal(size=(9, 3)).astype(FLOAT)
    floats = lambda *shape: [float(v) for v in random.normal(size=shape).ravel()]
    transforms = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]
    for transform in transforms:
        for labels in ({"classlabels_ints": [3, 7]}, {"classlabels_strings": ["no", "yes"]}):
            for positive in (0, 1):
                for kernel in ("LINEAR", "RBF"):
                    weights = [abs(w) if positive else w for w in floats(4)]
                    attributes = {"coefficients": weights, "support_vectors": floats(4, 3), "vectors_per_class": [2, 2]}
                    attributes |= {"rho": floats(1), "kernel_type": kernel, "kernel_params": [0.4, 0.0, 3.0]}
                    yield Case("SVMClassifier", [x], outputs=2, domain=domain, post_transform=transform, **attributes, **labels)
                    sigmoids = {"prob_a": [-1.2], "prob_b": [0.1]}
                    yield Case("SVMClassifier", [x], outputs=2, domain=domain, post_transform=transform, **attributes, **labels, **sigmoids)
                weights = [abs(w) if positive else w for w in floats(2, 3)]
                yield Case("SVMClassifier", [x], outputs=2, domain=domain, post_transform=transform, coefficients=weights, rho=floats(1), kernel_type="LINEAR", kernel_params=[0.4, 0.0, 3.0], **labels)
        attributes = {"coefficients": floats(2, 6), "support_vectors": floats(6, 3), "vectors_per_class": [2, 2, 2], "rho": floats(3)}
        yield Case("SVMClassifier", [x], outputs=2, domain=domain, post_transform=transform, classlabels_ints=[0, 1, 2], kernel_type="RBF", kernel_params=[0.4, 0.0, 3.0], **attributes)
        for targets in (1, 2, 3):
            # One target is left as it is there; the specification has no such exception.
            if targets > 1 or transform == "NONE":
                yield Case("LinearRegressor", [x], domain=domain, post_transform=transform, targets=targets, coefficients=floats(targets, 3), intercepts=floats(targets))
        for classes in (2, 3):
            for several in (0, 1):
                yield Case("LinearClassifier", [x], outputs=2, domain=domain, post_transform=transform, multi_class=several, classlabels_ints=list(range(classes)), coefficients=floats(classes, 3), intercepts=floats(classes))
