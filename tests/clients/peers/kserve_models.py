"""A real KServe model server with iris and colours, for V1 and Open Inference calls: kserve_models.py HTTP_PORT GRPC_PORT"""

import sys
import uuid

import numpy
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.numpy_codec import from_np_dtype
from models import Colours, Iris


class Served(Model):
    def __init__(self, name, model):
        super().__init__(name)
        self.model = model
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, InferRequest):
            return self._answer(payload)
        rows = numpy.asarray(payload["instances"], numpy.float32)
        return {"predictions": self.model.predict(rows)["label"].tolist()}

    def _answer(self, payload):
        binary = payload.use_binary_outputs
        outputs = []
        for name, value in self.model.predict(payload.inputs[0].as_numpy()).items():
            output = InferOutput(name, list(value.shape), from_np_dtype(value.dtype))
            output.set_data_from_numpy(value, binary_data=binary)
            outputs.append(output)
        return InferResponse(
            response_id=payload.id or str(uuid.uuid4()),
            model_name=self.name,
            infer_outputs=outputs,
            use_binary_outputs=binary,
            requested_outputs=payload.request_outputs,
        )


if __name__ == "__main__":
    server = ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), enable_grpc=True, workers=1)
    server.start([Served("iris", Iris()), Served("colours", Colours())])
