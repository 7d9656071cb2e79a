"""The runtime that MLServer loads: iris in Open Inference terms."""

from iris import Iris
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class IrisRuntime(MLModel):
    async def load(self):
        self.iris = Iris()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        wanted = {output.name for output in payload.outputs or []}
        outputs = [
            NumpyCodec.encode_output(name, value)
            for name, value in self.iris.predict(rows).items()
            if not wanted or name in wanted
        ]
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)
