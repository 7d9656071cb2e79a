"""The runtimes that MLServer loads: iris and colours in Open Inference terms."""

import numpy
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from models import Colours, Iris


def encoded(name, value):
    if value.dtype == object:
        return StringCodec.encode_output(name, [text.decode() for text in value.ravel()])
    return NumpyCodec.encode_output(name, value)


class Runtime(MLModel):
    async def load(self):
        self.running = self.of()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = payload.inputs[0]
        if given.datatype == "BYTES":
            rows = numpy.array(StringCodec.decode_input(given), object).reshape(given.shape)
        else:
            rows = NumpyCodec.decode_input(given)
        wanted = {output.name for output in payload.outputs or []}
        outputs = [
            encoded(name, value)
            for name, value in self.running.predict(rows).items()
            if not wanted or name in wanted
        ]
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)


class IrisRuntime(Runtime):
    of = Iris


class ColoursRuntime(Runtime):
    of = Colours
