"""A prediction server of the demonstration: one ONNX model over the Open Inference Protocol, by FastAPI and onnxruntime.

It registers itself with the gateway and renews. `--careless` answers in whatever name it is asked for, as some
servers do that have one model.
"""

import argparse
import threading

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from registration import register

TYPES = {"tensor(float)": ("FP32", np.float32), "tensor(int64)": ("INT64", np.int64)}


def application(file, own, own_version, careless):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    app = FastAPI()

    def known(name, version=None):
        if not careless and (name != own or version not in (None, own_version)):
            raise HTTPException(404, f"there is no model {name} {version or ''}")

    def described(tensors):
        return [
            {"name": one.name, "datatype": TYPES[one.type][0], "shape": [d if isinstance(d, int) else -1 for d in one.shape]}
            for one in tensors
        ]

    @app.get("/v2")
    def server():
        return {"name": "demo", "version": "1", "extensions": []}

    @app.get("/v2/health/{state}")
    def health(state: str):
        return {state: True}

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/{version}/ready")
    def ready(name: str, version: str | None = None):
        known(name, version)
        return {"name": name, "ready": True}

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}")
    def metadata(name: str, version: str | None = None):
        known(name, version)
        inputs, outputs = described(session.get_inputs()), described(session.get_outputs())
        return {"name": name, "versions": [own_version], "platform": "onnx", "inputs": inputs, "outputs": outputs}

    @app.post("/v2/models/{name}/infer")
    @app.post("/v2/models/{name}/versions/{version}/infer")
    async def infer(name: str, request: Request, version: str | None = None):
        known(name, version)
        asked = await request.json()
        dtypes = {one.name: TYPES[one.type][1] for one in session.get_inputs()}
        try:
            feeds = {
                one["name"]: np.array(one["data"], dtypes[one["name"]]).reshape(one["shape"]) for one in asked["inputs"]
            }
            answers = session.run(None, feeds)
        except Exception as error:  # Whatever onnxruntime dislikes about a request is the client's.
            raise HTTPException(400, str(error)) from error
        outputs = [
            {"name": one.name, "datatype": TYPES[one.type][0], "shape": list(answer.shape), "data": answer.ravel().tolist()}
            for one, answer in zip(session.get_outputs(), answers)
        ]
        return {"model_name": name, "model_version": own_version, "id": asked.get("id", ""), "outputs": outputs}

    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--admin", required=True, help="the gateway's admin listener, http://HOST:PORT")
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", required=True, help="the version that it registers as")
    parser.add_argument("--careless", action="store_true")
    options = parser.parse_args()
    me = {"address": f"http://127.0.0.1:{options.port}", "model": options.model, "version": options.version}
    threading.Thread(target=register, args=(options.admin, me), daemon=True).start()
    app = application(options.file, options.model, options.version, options.careless)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
