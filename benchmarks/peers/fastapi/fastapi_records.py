"""W4 on FastAPI: the record as a Pydantic model (what FastAPI is chosen for), answered by the whole ONNX pipeline.

Run with uvicorn, uvloop and httptools. ``async def``: the model's microseconds cost less than a trip to a thread.
"""

import os

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.onnx_answers import RecordModel

model = RecordModel(os.environ["BENCH_MODEL"])
app = FastAPI()


class Record(BaseModel):
    """The 14 fields of W1."""

    num_0: float | None
    num_1: float | None
    num_2: float | None
    num_3: float | None
    num_4: float | None
    num_5: float | None
    cat_0: str
    cat_1: str
    cat_2: str
    cat_3: str
    cat_4: str
    cat_5: str
    cat_6: str
    cat_7: str


class Answer(BaseModel):
    """The answer; with a return type FastAPI serialises in Rust."""

    label: int
    scores: dict[str, float]


@app.post("/predict")
async def predict(record: Record) -> Answer:
    """Answers one record."""
    return Answer.model_construct(**model.answer(record.__dict__))
