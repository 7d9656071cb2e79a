"""An ONNX model of the demonstration in MLServer. It registers the server with the gateway once the model is loaded.

What MLServer's settings do not have (where it is reached, as what it registers, and where the gateway is) stands in the
environment: `DEMO_ME` is the registration as JSON, `DEMO_ADMIN` the gateway's admin listener.
"""

import json
import os
import threading

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from registration import register


class OnnxRuntime(MLModel):
    async def load(self):
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, providers=["CPUExecutionProvider"])
        arguments = (os.environ["DEMO_ADMIN"], json.loads(os.environ["DEMO_ME"]))
        threading.Thread(target=register, args=arguments, daemon=True).start()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        answers = self.session.run(None, feeds)
        outputs = [
            NumpyCodec.encode_output(one.name, answer) for one, answer in zip(self.session.get_outputs(), answers)
        ]
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)
