"""Operators of `com.microsoft`, which onnxruntime's optimiser writes. Owns which, and with what attributes."""

import numpy
from drawn import FLOAT, single
from one_node import Case

DOMAIN = "com.microsoft"


def cases():
    random = numpy.random.default_rng(12)
    draw = lambda *shape: random.normal(size=shape).astype(FLOAT)
    for bias in (None, draw(8)):
        rest = [draw(2, 3, 8), draw(8)] + [draw(8)]
        yield Case("SkipLayerNormalization", [draw(2, 3, 8), *rest, *([bias] if bias is not None else [])], constants=[2, 3, 4][: 2 + (bias is not None)], domain=DOMAIN, epsilon=1e-3)
    yield Case("SkipLayerNormalization", [draw(2, 3, 8), draw(2, 3, 8), draw(8)], constants=[2], domain=DOMAIN)
    yield Case("SkipLayerNormalization", [draw(2, 3, 8), draw(2, 3, 8), draw(8), draw(8)], constants=[2, 3], outputs=["o0", "", "", "o3"], domain=DOMAIN)
    for outputs in (1, ["o0", "", "", "o3"]):
        yield Case("SkipSimplifiedLayerNormalization", [draw(2, 3, 8), draw(2, 3, 8), draw(8)], constants=[2], outputs=outputs, domain=DOMAIN, epsilon=1e-3)
    yield Case("SkipSimplifiedLayerNormalization", [draw(2, 3, 8), draw(2, 3, 8), draw(8), draw(8)], constants=[2, 3], domain=DOMAIN)
    yield Case("BiasGelu", [draw(2, 5), draw(5)], constants=[1], domain=DOMAIN)
    yield Case("FastGelu", [draw(2, 5)], domain=DOMAIN)
    yield Case("FastGelu", [draw(2, 5), draw(5)], constants=[1], domain=DOMAIN)
    for heads, attributes in ((2, {}), (4, {}), (2, {"scale": 0.3}), (2, {"unidirectional": 1})):
        query, key, value = draw(2, 3, 8), draw(2, 5, 8), draw(2, 5, 8)
        yield Case("MultiHeadAttention", [query, key, value], domain=DOMAIN, num_heads=heads, **attributes)
        yield Case("MultiHeadAttention", [query, key, value, draw(24)], constants=[3], domain=DOMAIN, num_heads=heads, **attributes)
        bias = draw(1, heads, 3, 5)
        yield Case("MultiHeadAttention", [query, key, value, None, None, bias], domain=DOMAIN, num_heads=heads, **attributes)
        bias = draw(2, heads, 3, 5)
        yield Case("MultiHeadAttention", [query, key, value, None, None, bias], domain=DOMAIN, num_heads=heads, **attributes)
        mask = numpy.array([3, 5], numpy.int32)
        yield Case("MultiHeadAttention", [query, key, value, None, mask], domain=DOMAIN, num_heads=heads, **attributes)
        mask = numpy.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], numpy.int32)
        yield Case("MultiHeadAttention", [query, key, value, None, mask], domain=DOMAIN, num_heads=heads, **attributes)
        past = [draw(2, heads, 4, 8 // heads) for _ in range(2)]
        yield Case("MultiHeadAttention", [query, key, value, None, None, None, *past], outputs=3, domain=DOMAIN, num_heads=heads, **attributes)
    for heads, kv, attributes in ((4, 2, {}), (2, 2, {}), (4, 1, {"scale": 0.4}), (4, 2, {"softcap": 5.0}), (4, 2, {"local_window_size": 2}), (4, 2, {"do_rotary": 1}), (4, 2, {"smooth_softmax": 1})):
        size, length = 8, 3
        query, key, value = draw(1, length, heads * size), draw(1, length, kv * size), draw(1, length, kv * size)
        total = numpy.array([length - 1], numpy.int32)
        rotary = []
        if attributes.get("do_rotary"):
            rotary = [draw(16, size // 2), draw(16, size // 2)]
        empty = numpy.zeros((1, kv, 0, size), FLOAT)
        inputs = [query, key, value, empty, empty, total, numpy.array(length, numpy.int32), *rotary]
        yield Case("GroupQueryAttention", inputs, constants=[3, 4, 5, 6, *([7, 8] if rotary else [])], outputs=3, domain=DOMAIN, num_heads=heads, kv_num_heads=kv, **attributes)
        past = [draw(1, kv, 4, size) for _ in range(2)]
        one = [draw(1, 1, heads * size), draw(1, 1, kv * size), draw(1, 1, kv * size)]
        inputs = [*one, *past, numpy.array([4], numpy.int32), numpy.array(5, numpy.int32), *rotary]
        yield Case("GroupQueryAttention", inputs, constants=[5, 6, *([7, 8] if rotary else [])], outputs=3, domain=DOMAIN, num_heads=heads, kv_num_heads=kv, **attributes)
    for interleaved in (0, 1):
        caches = [draw(10, 4), draw(10, 4)]
        places = numpy.array([[0, 1, 2], [4, 5, 6]], numpy.int64)
        yield Case("RotaryEmbedding", [draw(2, 2, 3, 8), places, *caches], constants=[2, 3], domain=DOMAIN, interleaved=interleaved)
        yield Case("RotaryEmbedding", [draw(2, 3, 16), places, *caches], constants=[2, 3], domain=DOMAIN, interleaved=interleaved, num_heads=2)
        yield Case("RotaryEmbedding", [draw(2, 3, 16), numpy.array([2], numpy.int64), *caches], constants=[2, 3], domain=DOMAIN, interleaved=interleaved, num_heads=2)
        half = [draw(10, 2), draw(10, 2)]
        yield Case("RotaryEmbedding", [draw(2, 2, 3, 8), places, *half], constants=[2, 3], domain=DOMAIN, interleaved=interleaved, rotary_embedding_dim=4, num_heads=2)
        yield Case("RotaryEmbedding", [draw(2, 2, 3, 8), places, *caches], constants=[2, 3], domain=DOMAIN, interleaved=interleaved, scale=2.0)
    for zero in (0, 1):
        for bias in (0, 1):
            for size in (16, 32):
                packed = random.integers(0, 255, size=(5, 64 // size, size // 2)).astype(numpy.uint8)
                scales = numpy.abs(draw(5 * (64 // size)))
                rest = [packed, scales]
                if zero:
                    rest.append(random.integers(0, 255, size=5 * ((64 // size + 1) // 2)).astype(numpy.uint8))
                if bias:
                    rest += [None] * (5 - len(rest) - 1) + [draw(5)]
                yield single("MatMulNBits", random, (2, 64), rest=rest, special=(), domain=DOMAIN, K=64, N=5, bits=4, block_size=size, accuracy_level=1)
    for operator, rest in (("SimplifiedLayerNormalization", [draw(8)]),):
        yield single(operator, random, (2, 3, 8), rest=rest, axis=-1, epsilon=1e-3)
    data = random.integers(0, 255, size=(6, 32)).astype(numpy.uint8)
    yield Case("GatherBlockQuantized", [data, numpy.array([[1, 5, 0]]), numpy.abs(draw(6, 4))], constants=[0, 2], domain=DOMAIN, gather_axis=0, quantize_axis=1, block_size=16, bits=4)
    yield Case("GatherBlockQuantized", [data, numpy.array([[1, 5, 0]]), numpy.abs(draw(6, 2))], constants=[0, 2], domain=DOMAIN, gather_axis=0, quantize_axis=1, block_size=16, bits=8)
