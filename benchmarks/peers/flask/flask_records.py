"""W4 on Flask and waitress: the record through ``request.get_json``, answered by the whole ONNX pipeline."""

import os
import sys

from flask import Flask, jsonify, request
from waitress import serve

from benchmarks.peers.onnx_answers import RecordModel

model = RecordModel(os.environ["BENCH_MODEL"])
app = Flask(__name__)


@app.post("/predict")
def predict():
    """Answers one record."""
    return jsonify(model.answer(request.get_json()))


if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=4, _quiet=True)
