"""Texts with the answers of the model `colours`, as arrays. Its file says what is what; others are -1 and "?"."""

import numpy

TEXTS = numpy.array([["red"], ["green"], [""], ["nowhere seen: größe"]], object)
NUMBERS = numpy.int64([[1], [2], [0], [-1]])
GERMAN = [["rot"], ["grün"], ["nichts"], ["?"]]


def as_text(values):
    """What the client made of BYTES, as nested lists of texts."""
    return [[value.decode() if isinstance(value, bytes) else value for value in row] for row in values]
