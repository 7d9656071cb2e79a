"""A model of one node. Owns how it is declared; never says what it should answer."""

import numpy
from onnx import TensorProto, helper, numpy_helper

OPSET = 18


class Case:
    """An operator with its inputs: those at the positions of `constants` are part of the model, all others come with
    each request. They are initializers, or nodes as `written` says. `more` are further data sets. `exact` makes the right answer of what is given in double precision, or
    is `True` where onnxruntime has the operator so. `extreme` is 1 where the answer is the largest of some numbers and
    -1 where it is the smallest. Where it `spreads`, NaN is wherever a number in its place would make a difference."""

    def __init__(
        self, operator, inputs, outputs=1, constants=(), written=None, domain="", opset=OPSET, exact=None, extreme=0, spreads=False, more=(), **attributes
    ):
        self.name = f"{domain}.{operator}" if domain else operator
        self.operator = operator
        self.inputs = [None if x is None else numpy.asarray(x) for x in inputs]
        self.constants = set(constants)
        self.written = written
        self.outputs = [f"o{at}" for at in range(outputs)] if isinstance(outputs, int) else outputs
        self.domain = domain
        self.opset = opset
        self.exact = exact
        self.extreme = extreme
        self.spreads = spreads
        self.attributes = attributes
        self.given = [at for at, x in enumerate(self.inputs) if x is not None and at not in self.constants]
        self.sets = [[self.inputs[at] for at in self.given], *[[numpy.asarray(x) for x in values] for values in more]]

    def named(self, values):
        return {f"i{at}": value for at, value in zip(self.given, values)}

    def model(self, double=False):
        """The model, in double precision if asked."""
        wide = [x.astype(numpy.float64) if double and x is not None and x.dtype == numpy.float32 else x for x in self.inputs]
        names = ["" if x is None else f"i{at}" for at, x in enumerate(wide)]
        node = helper.make_node(self.operator, names, self.outputs, domain=self.domain, **self.attributes)
        declared = [helper.make_tensor_value_info(names[at], kind(wide[at].dtype), self.shape(at)) for at in self.given]
        constants, before = [], []
        for at in sorted(self.constants):
            initializers, nodes = WRITTEN[self.written](names[at], wide[at])
            constants += initializers
            before += nodes
        made = [helper.make_empty_tensor_value_info(name) for name in self.outputs if name]
        graph = helper.make_graph([*before, node], "one", declared, made, constants)
        imports = [helper.make_opsetid("", self.opset)]
        if self.domain:
            imports.append(helper.make_opsetid(self.domain, 1 if self.domain == "com.microsoft" else 3))
        return helper.make_model(graph, opset_imports=imports, ir_version=9)

    def shape(self, at):
        """The shape of an input, open in the dimensions in which the data sets differ."""
        shapes = [values[self.given.index(at)].shape for values in self.sets]
        return [sizes[0] if len(set(sizes)) == 1 else f"N{axis}" for axis, sizes in enumerate(zip(*shapes))]

    def declare(self, model, dtypes):
        """Says what the outputs are, as exporters do."""
        names = [name for name in self.outputs if name]
        del model.graph.output[:]
        model.graph.output.extend(
            helper.make_tensor_value_info(name, kind(dtype), None) for name, dtype in zip(names, dtypes)
        )


def kind(dtype):
    return TensorProto.STRING if dtype.kind in "OUS" else helper.np_dtype_to_tensor_dtype(dtype)


def initializer(name, array):
    return [numpy_helper.from_array(array, name)], []


def attribute(name, array):
    key = ("value_int" if array.dtype.kind == "i" else "value_float") + ("s" if array.ndim else "")
    return [], [helper.make_node("Constant", [], [name], **{key: array.tolist()})]


def identity(name, array):
    return [numpy_helper.from_array(array, f"{name}_from")], [helper.make_node("Identity", [f"{name}_from"], [name])]


def cast(name, array):
    source = [numpy_helper.from_array(array.astype(numpy.float64), f"{name}_from")]
    return source, [helper.make_node("Cast", [f"{name}_from"], [name], to=kind(array.dtype))]


def joined(name, array):
    """By Unsqueeze and Concat."""
    axes = f"{name}_axes"
    initializers, nodes, parts = [numpy_helper.from_array(numpy.array([0]), axes)], [], []
    for at, number in enumerate(array.ravel()):
        initializers.append(numpy_helper.from_array(number[()], f"{name}_{at}"))
        nodes.append(helper.make_node("Unsqueeze", [f"{name}_{at}", axes], [f"{name}_part_{at}"]))
        parts.append(f"{name}_part_{at}")
    nodes.append(helper.make_node("Concat", parts, [f"{name}_flat"], axis=0))
    initializers.append(numpy_helper.from_array(numpy.array(array.shape, numpy.int64), f"{name}_shape"))
    nodes.append(helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], [name]))
    return initializers, nodes


def difference(name, array):
    more, some = array + 2, numpy.array(2, array.dtype)
    source = [numpy_helper.from_array(more, f"{name}_more"), numpy_helper.from_array(some, f"{name}_some")]
    return source, [helper.make_node("Sub", [f"{name}_more", f"{name}_some"], [name])]


# How a constant that is part of the model is written.
WRITTEN = {None: initializer, "attribute": attribute, "identity": identity, "cast": cast, "joined": joined, "difference": difference}
