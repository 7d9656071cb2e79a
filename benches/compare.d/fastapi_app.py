"""The usual way to serve an ONNX model from Python: FastAPI and onnxruntime.

Written as one would for production and leaner than most: no response model, no validation beyond
what numpy does, one thread a session (each of the two workers has a core).
"""

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(
    os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
)
output_names = [output.name for output in session.get_outputs()]
DATATYPES = {"float32": "FP32", "int64": "INT64"}

app = FastAPI()


@app.get("/v2/health/ready")
async def ready():
    return {}


@app.post("/v2/models/iris/infer")
async def infer(request: Request):
    body = await request.json()
    try:
        feeds = {
            tensor["name"]: np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
            for tensor in body["inputs"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise HTTPException(400, f"bad input: {error}") from error
    results = session.run(output_names, feeds)
    return JSONResponse(
        {
            "model_name": "iris",
            "model_version": "v1",
            "outputs": [
                {
                    "name": name,
                    "datatype": DATATYPES[str(value.dtype)],
                    "shape": list(value.shape),
                    "data": value.ravel().tolist(),
                }
                for name, value in zip(output_names, results)
            ],
        }
    )
