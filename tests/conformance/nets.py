"""More small nets in the shape in which `torch.onnx.export` leaves the usual architectures: operator by operator, with
sizes that are computed in the graph. They are written down here, as PyTorch is too heavy to be installed for them.
"""

import functools

import numpy
import onnx


def models():
    """Each net's name, its ONNX form and what makes inputs for it."""
    for name, (body, shapes, inputs) in NETS.items():
        random = numpy.random.default_rng(len(name))
        constants = [constant(random, key, shape) for key, shape in shapes.items()]
        graph = onnx.parser.parse_graph(body)
        graph.initializer.extend(constants)
        opsets = [onnx.helper.make_opsetid("", 17)]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="pytorch")
        onnx.checker.check_model(model, full_check=True)
        yield f"net_{name}", model, inputs


def constant(random, name, value):
    """Weights of a shape, or values as they are."""
    if isinstance(value, tuple):
        fan = numpy.prod(value[1:]) if len(value) > 1 else value[0]
        value = (random.normal(size=value) / numpy.sqrt(fan)).astype(numpy.float32)
    return onnx.numpy_helper.from_array(value, name)


def floats(*shape):
    """Inputs of that shape behind the batch; a `None` is a length that differs from batch to batch."""
    return functools.partial(_floats, shape)


def _floats(shape, rows, seed):
    sizes = [size or 5 + rows % 4 for size in shape]
    values = numpy.random.default_rng(seed).normal(size=[rows or 3, *sizes]).astype(numpy.float32)
    if not rows:
        values[0], values[1] = 0, 10 * values[1]
    return {"x": values}


def tokens(rows, seed):
    length = 6 + rows % 3
    return {"x": numpy.random.default_rng(seed).integers(0, 20, (rows or 2, length)).astype(numpy.int64)}


RESIDUAL = """residual (float[batch, 3, 16, 16] x) => (float[batch, 5] y) {
    a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w0, b0)
    b = Relu(a)
    c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(b, w1, b1)
    d = Relu(c)
    e = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(d, w2, b2)
    f = Add(e, b)
    g = Relu(f)
    h = Conv<kernel_shape = [1, 1], strides = [2, 2]>(g, w3)
    i = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(h)
    j = ReduceMean<axes = [2, 3], keepdims = 0>(i)
    y = Gemm<transB = 1>(j, w4, b4)
}"""

# `interpolate` to a size: that of the batch is computed.
INTERPOLATED = """interpolated (float[batch, 2, 5, 4] x) => (float[batch, 3, 7, 9] y) {
    shape = Shape(x)
    front = Slice(shape, zero, two, zero)
    sizes = Concat<axis = 0>(front, size)
    a = Resize<mode = "linear", coordinate_transformation_mode = "half_pixel">(x, "", "", sizes)
    b = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a, w0, b0)
    y = Relu(b)
}"""

# `interpolate` to twice the size, whatever it is.
DOUBLED = """doubled (float[batch, 2, high, wide] x) => (float[batch, 2, higher, wider] y) {
    a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w0, b0)
    shape = Shape(a)
    front = Slice(shape, zero, two, zero)
    back = Slice(shape, two, four, zero)
    twice = Mul(back, two)
    sizes = Concat<axis = 0>(front, twice)
    y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(a, "", "", sizes)
}"""

MOBILE = """mobile (float[batch, 3, 16, 16] x) => (float[batch, 4] y) {
    zero = Constant<value = float {0}>()
    six = Constant<value = float {6}>()
    a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(x, w0, b0)
    b = Clip(a, zero, six)
    c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 8>(b, w1, b1)
    d = Clip(c, zero, six)
    p = GlobalAveragePool(d)
    q = Conv<kernel_shape = [1, 1]>(p, w2, b2)
    r = Relu(q)
    s = Conv<kernel_shape = [1, 1]>(r, w3, b3)
    t = HardSigmoid<alpha = 0.16666667, beta = 0.5>(s)
    e = Mul(d, t)
    f = Conv<kernel_shape = [1, 1]>(e, w4, b4)
    g = Add(f, b)
    h = HardSwish(g)
    i = GlobalAveragePool(h)
    j = Flatten<axis = 1>(i)
    y = Gemm<transB = 1>(j, w5, b5)
}"""

UNET = """unet (float[batch, 1, 16, 16] x) => (float[batch, 1, 16, 16] y) {
    a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w0, b0)
    b = LeakyRelu<alpha = 0.1>(a)
    c = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(b)
    d = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(c, w1, b1)
    e = Elu(d)
    f = ConvTranspose<kernel_shape = [2, 2], strides = [2, 2]>(e, w2, b2)
    g = Concat<axis = 1>(f, b)
    h = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(g, w3, b3)
    i = PRelu(h, slope)
    j = Conv<kernel_shape = [1, 1]>(i, w4, b4)
    y = Sigmoid(j)
}"""

UPSAMPLED = """upsampled (float[batch, 2, 6, 6] x) => (float[batch, 2, 12, 12] y) {
    a = Resize<mode = "nearest", nearest_mode = "floor", coordinate_transformation_mode = "asymmetric">(x, roi, scales)
    y = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a, w0, b0)
}"""

SEQUENCE = """sequence (float[batch, time, 6] x) => (float[batch, time, 3] y) {
    t = Transpose<perm = [1, 0, 2]>(x)
    all, last, cell = LSTM<hidden_size = 4, direction = "forward">(t, w, r, b)
    one = Constant<value = int64[1] {1}>()
    s = Squeeze(all, one)
    u = Transpose<perm = [1, 0, 2]>(s)
    v = MatMul(u, w1)
    y = Add(v, b1)
}"""

GATED = """gated (float[batch, 9, 6] x) => (float[batch, 2] y) {
    t = Transpose<perm = [1, 0, 2]>(x)
    all, last = GRU<hidden_size = 5, linear_before_reset = 1>(t, w, r, b)
    zero = Constant<value = int64[1] {0}>()
    s = Squeeze(last, zero)
    y = Gemm<transB = 1>(s, w1, b1)
}"""

SIGNAL = """signal (float[batch, 1, time] x) => (float[batch, 3] y) {
    a = Conv<kernel_shape = [3], pads = [2, 0], dilations = [1]>(x, w0, b0)
    b = Tanh(a)
    c = Conv<kernel_shape = [3], pads = [4, 0], dilations = [2]>(b, w1, b1)
    d = Sigmoid(c)
    e = Mul(b, d)
    f = ReduceMax<axes = [2], keepdims = 0>(e)
    y = Gemm<transB = 1>(f, w2, b2)
}"""

# Attention with several heads, whose shapes torch computes from those of the input.
HEADS = """heads (float[batch, time, 8] x) => (float[batch, time, 8] y) {
    shape = Shape(x)
    zero = Constant<value = int64 {0}>()
    one = Constant<value = int64 {1}>()
    first = Constant<value = int64[1] {0}>()
    batch_size = Gather<axis = 0>(shape, zero)
    length = Gather<axis = 0>(shape, one)
    batch_dim = Unsqueeze(batch_size, first)
    time_dim = Unsqueeze(length, first)
    two = Constant<value = int64[1] {2}>()
    four = Constant<value = int64[1] {4}>()
    eight = Constant<value = int64[1] {8}>()
    split_shape = Concat<axis = 0>(batch_dim, time_dim, two, four)
    joined_shape = Concat<axis = 0>(batch_dim, time_dim, eight)
    qkv0 = MatMul(x, wqkv)
    qkv = Add(qkv0, bqkv)
    q0, k0, v0 = Split<axis = 2>(qkv, parts)
    q1 = Reshape(q0, split_shape)
    k1 = Reshape(k0, split_shape)
    v1 = Reshape(v0, split_shape)
    q = Transpose<perm = [0, 2, 1, 3]>(q1)
    k = Transpose<perm = [0, 2, 3, 1]>(k1)
    v = Transpose<perm = [0, 2, 1, 3]>(v1)
    half = Constant<value = float {0.5}>()
    qs = Mul(q, half)
    scores = MatMul(qs, k)
    p = Softmax<axis = -1>(scores)
    a0 = MatMul(p, v)
    a1 = Transpose<perm = [0, 2, 1, 3]>(a0)
    a = Reshape(a1, joined_shape)
    o = MatMul(a, wo)
    sum = Add(o, x)
    n = LayerNormalization<axis = -1>(sum, scale, bias)
    f = MatMul(n, w1)
    root = Constant<value = float {1.4142135}>()
    f1 = Div(f, root)
    f2 = Erf(f1)
    unit = Constant<value = float {1}>()
    f3 = Add(f2, unit)
    f4 = Mul(f, f3)
    f5 = Mul(f4, half)
    f6 = MatMul(f5, w2)
    y = Add(f6, n)
}"""

EMBEDDED = """embedded (int64[batch, time] x) => (float[batch, 3] y) {
    a = Gather(table, x)
    zero = Constant<value = int64 {0}>()
    mask0 = Equal(x, zero)
    mask1 = Not(mask0)
    mask2 = Cast<to = 1>(mask1)
    last = Constant<value = int64[1] {-1}>()
    mask = Unsqueeze(mask2, last)
    b = Mul(a, mask)
    c = ReduceSum<keepdims = 0>(b, middle)
    d = ReduceSum<keepdims = 0>(mask, middle)
    tiny = Constant<value = float {1e-9}>()
    e = Add(d, tiny)
    f = Div(c, e)
    g = Gemm<transB = 1>(f, w1, b1)
    y = Softmax<axis = 1>(g)
}"""

AUTOENCODER = """autoencoder (float[batch, 10] x) => (float[batch, 10] y, float[batch] loss) {
    a = Gemm<transB = 1>(x, w0, b0)
    b = Tanh(a)
    c = Gemm<transB = 1>(b, w1, b1)
    d = Softplus(c)
    y = Gemm<transB = 1>(d, w2, b2)
    e = Sub(y, x)
    f = Mul(e, e)
    loss = ReduceMean<axes = [1], keepdims = 0>(f)
}"""

GROUPS = """groups (float[batch, 4, 8, 8] x) => (float[batch, 4, 8, 8] y) {
    flat = Constant<value = int64[3] {0, 2, -1}>()
    a = Reshape(x, flat)
    b = InstanceNormalization<epsilon = 1e-5>(a, ones, zeros)
    shape = Shape(x)
    c = Reshape(b, shape)
    d = Mul(c, scale)
    e = Add(d, bias)
    f = Sigmoid(e)
    g = Mul(e, f)
    h = Pad<mode = "reflect">(g, pads)
    y = Conv<kernel_shape = [3, 3]>(h, w0, b0)
}"""

# Bounds beyond an open length, a step behind a view, and a border with a value that does not count.
SLICES = """slices (float[batch, time, 6] x) => (float[batch, 2, 5] y) {
    a = Slice(x, zero, seven, one)
    b = Slice(x, last_six, far, one)
    c = ReduceMean<axes = [1], keepdims = 0>(a)
    d = ReduceMean<axes = [1], keepdims = 0>(b)
    e = Add(c, d)
    f = Reshape(e, view)
    even = Slice(f, zero, far, two, two)
    odd = Slice(f, one, far, two, two)
    g = Concat<axis = 2>(odd, even)
    y = Pad<mode = "reflect">(g, pads, value)
}"""

I64 = functools.partial(numpy.array, dtype=numpy.int64)
F32 = functools.partial(numpy.array, dtype=numpy.float32)

# What `squeeze` of a dimension that is left open becomes: one way for a size, another one for all others.
SQUEEZED = """squeezed (float[batch, length, 8] x) => (float[batch, length, 8] y) {
    shape = Shape(x)
    size = Gather(shape, one)
    is = Equal(size, six)
    turned = If(is) <
        then_branch = then () => (float[batch, length, 8] a) { a = Neg(x) },
        else_branch = else () => (float[batch, length, 8] b) { b = Mul(x, two) }
    >
    other = Where(is, x, turned)
    y = Add(turned, other)
}"""

# What all places of a sequence have in common, in front of a product, and a query that is the same for all rows.
EXPANDED = """expanded (float[batch, time, 4] x) => (float[batch, 3, 4] y, float[batch, 5] z) {
    s = ReduceSum<keepdims = 1>(x, one)
    shape = Shape(x)
    e = Expand(s, shape)
    m = MatMul(e, w0)
    z = ReduceSum<keepdims = 0>(m, one)
    rows = Slice(shape, zero, one)
    sizes = Concat<axis = 0>(rows, three_four)
    q = Expand(query, sizes)
    k = MatMul(x, w1)
    kt = Transpose<perm = [0, 2, 1]>(k)
    scores = MatMul(q, kt)
    p = Softmax<axis = -1>(scores)
    y = MatMul(p, e)
}"""

# Equations as they were written, with dots in some operands.
DOTTED = """dotted (float[batch, time, 2, 4] x) => (float[batch, time, 2, 5] y, float[batch, time, 2, 2] z) {
    y = Einsum<equation = "...f,fk->...k">(x, w0)
    z = Einsum<equation = "b...if,b...jf->b...ij">(x, x)
}"""

NETS = {
    "residual": (
        RESIDUAL,
        {"w0": (6, 3, 3, 3), "b0": (6,), "w1": (6, 6, 3, 3), "b1": (6,), "w2": (6, 6, 3, 3), "b2": (6,)}
        | {"w3": (8, 6, 1, 1), "w4": (5, 8), "b4": (5,)},
        floats(3, 16, 16),
    ),
    "mobile": (
        MOBILE,
        {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 1, 3, 3), "b1": (8,), "w2": (4, 8, 1, 1), "b2": (4,)}
        | {"w3": (8, 4, 1, 1), "b3": (8,), "w4": (8, 8, 1, 1), "b4": (8,), "w5": (4, 8), "b5": (4,)},
        floats(3, 16, 16),
    ),
    "unet": (
        UNET,
        {"w0": (4, 1, 3, 3), "b0": (4,), "w1": (8, 4, 3, 3), "b1": (8,), "w2": (8, 4, 2, 2), "b2": (4,)}
        | {"w3": (4, 8, 3, 3), "b3": (4,), "slope": (4, 1, 1), "w4": (1, 4, 1, 1), "b4": (1,)},
        floats(1, 16, 16),
    ),
    "upsampled": (
        UPSAMPLED,
        {"roi": F32([]), "scales": F32([1, 1, 2, 2]), "w0": (2, 2, 3, 3), "b0": (2,)},
        floats(2, 6, 6),
    ),
    "sequence": (
        SEQUENCE,
        {"w": (1, 16, 6), "r": (1, 16, 4), "b": (1, 32), "w1": (4, 3), "b1": (3,)},
        floats(None, 6),
    ),
    "gated": (
        GATED,
        {"w": (1, 15, 6), "r": (1, 15, 5), "b": (1, 30), "w1": (2, 5), "b1": (2,)},
        floats(9, 6),
    ),
    "signal": (
        SIGNAL,
        {"w0": (4, 1, 3), "b0": (4,), "w1": (4, 4, 3), "b1": (4,), "w2": (3, 4), "b2": (3,)},
        floats(1, None),
    ),
    "heads": (
        HEADS,
        {"wqkv": (8, 24), "bqkv": (24,), "parts": I64([8, 8, 8]), "wo": (8, 8), "scale": (8,), "bias": (8,)}
        | {"w1": (8, 16), "w2": (16, 8)},
        floats(None, 8),
    ),
    "embedded": (
        EMBEDDED,
        {"table": (20, 6), "middle": I64([1]), "w1": (3, 6), "b1": (3,)},
        tokens,
    ),
    "autoencoder": (
        AUTOENCODER,
        {"w0": (6, 10), "b0": (6,), "w1": (3, 6), "b1": (3,), "w2": (10, 3), "b2": (10,)},
        floats(10),
    ),
    "groups": (
        GROUPS,
        {"ones": F32([1, 1]), "zeros": F32([0, 0]), "scale": (4, 1, 1), "bias": (4, 1, 1)}
        | {"pads": I64([0, 0, 1, 1, 0, 0, 1, 1]), "w0": (4, 4, 3, 3), "b0": (4,)},
        floats(4, 8, 8),
    ),
    "squeezed": (
        SQUEEZED,
        {"one": I64(1), "six": I64(6), "two": F32(2)},
        floats(None, 8),
    ),
    "interpolated": (
        INTERPOLATED,
        {"zero": I64([0]), "two": I64([2]), "size": I64([7, 9]), "w0": (3, 2, 3, 3), "b0": (3,)},
        floats(2, 5, 4),
    ),
    "doubled": (
        DOUBLED,
        {"zero": I64([0]), "two": I64([2]), "four": I64([4]), "w0": (2, 2, 3, 3), "b0": (2,)},
        floats(2, None, None),
    ),
    "expanded": (
        EXPANDED,
        {"zero": I64([0]), "one": I64([1]), "three_four": I64([3, 4]), "w0": (4, 5), "w1": (4, 4), "query": (1, 3, 4)},
        floats(None, 4),
    ),
    "dotted": (
        DOTTED,
        {"w0": (4, 5)},
        floats(None, 2, 4),
    ),
    "slices": (
        SLICES,
        {"zero": I64([0]), "one": I64([1]), "two": I64([2]), "seven": I64([7]), "last_six": I64([-6])}
        | {"far": I64([2**63 - 1]), "view": I64([0, 2, 3]), "pads": I64([0, 0, 1, 0, 0, 1]), "value": F32(9.0)},
        floats(None, 6),
    ),
}
