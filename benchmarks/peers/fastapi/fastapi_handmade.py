"""W4 and W5 on FastAPI by hand: the body through orjson, no Pydantic, no validation; as fast as FastAPI goes.

``/predict`` takes a record, ``/v2/models/w5/infer`` an Open Inference Protocol request. Run with uvicorn, uvloop and
httptools.
"""

import os

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

from benchmarks.peers.onnx_answers import MatrixModel, RecordModel

app = FastAPI()
model: RecordModel | MatrixModel
if os.environ["BENCH_KIND"] == "records":
    model = RecordModel(os.environ["BENCH_MODEL"])
else:
    model = MatrixModel(os.environ["BENCH_MODEL"])


@app.post("/predict")
async def predict(request: Request) -> Response:
    """Answers one record."""
    record = orjson.loads(await request.body())
    return Response(orjson.dumps(model.answer(record)), media_type="application/json")


@app.post("/v2/models/w5/infer")
async def infer(request: Request) -> Response:
    """Answers one inference request with one FP32 tensor."""
    given = orjson.loads(await request.body())
    tensor = given["inputs"][0]
    label, scores = model.answer(np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"]))
    answer = {
        "model_name": "w5",
        "id": given.get("id", ""),
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": label.shape, "data": label.ravel()},
            {"name": "scores", "datatype": "FP32", "shape": scores.shape, "data": scores.ravel()},
        ],
    }
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
