"""Long calls into the kernels let other threads run.

The interpreter is told to take the GIL from nobody for an hour, so a second thread gets it only where the first one
lets it go. If that thread has counted on while a call ran, the call has let it go. Nothing is timed: a call is repeated
until the other thread has had its turn, which a busy machine may delay.
"""

import json
import sys
import threading
import time

import numpy as np
import pytest

from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.image_spec import ImageSpec
from edgeml.runtime.onnx_session import OnnxSession
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema

ROWS = 20_000
CALLS = 2_000
RECORD = {
    "bill_length_mm": 47.0,
    "bill_depth_mm": 18.5,
    "flipper_length_mm": 195.0,
    "body_mass_g": 3700,
    "island": "Biscoe",
    "sex": "male",
}


def lets_others_run(call, *, calls=CALLS):
    """Whether another thread gets a turn while a call runs."""
    counted, done = [0], threading.Event()

    def count():
        while not done.is_set():
            counted[0] += 1
            time.sleep(0)  # gives the GIL back

    interval = sys.getswitchinterval()
    counter = threading.Thread(target=count)
    sys.setswitchinterval(3600.0)
    try:
        counter.start()
        for _ in range(calls):
            before = counted[0]
            call()
            if counted[0] != before:
                return True
        return False
    finally:
        sys.setswitchinterval(interval)
        done.set()
        counter.join()


@pytest.fixture(scope="module")
def predictor(penguins_bundle):
    return Predictor.from_bundle(penguins_bundle, backend="native", max_rows=ROWS)


@pytest.fixture(scope="module")
def frame(predictor):
    made = predictor.reader.new_frame(ROWS)
    predictor.reader.read_columns(made, {name: [value] * ROWS for name, value in RECORD.items()})
    return made


def test_the_method_tells_a_call_that_keeps_the_gil():
    numbers = list(range(100_000))
    assert not lets_others_run(lambda: numbers.count(-1), calls=50)
    assert lets_others_run(lambda: time.sleep(0.001))


def test_reading_a_large_body(predictor):
    body = json.dumps({"records": [RECORD] * 5_000}).encode()
    frame = predictor.reader.new_frame(5_000)
    assert lets_others_run(lambda: predictor.reader.read_json(frame, body))


def test_matching_rules(predictor, frame):
    out = np.empty(ROWS, dtype=np.int32)
    assert lets_others_run(lambda: predictor.rules.match(frame.capsule, out))


def test_encoding_features(predictor, frame):
    out = np.empty((ROWS, predictor.program.n_outputs), dtype=predictor.program.dtype)
    encoder = predictor.program.encoder()
    assert lets_others_run(lambda: encoder.encode(frame.capsule, out))


def test_many_sizes_of_n_grams_of_a_text_that_is_not_long():
    schema = Schema.from_dict({"features": [{"name": "t", "kind": "text"}]})
    sizes = {"feature": "t", "analyzer": "char", "slots": 64, "hashed": True, "ngrams": [1, 150]}
    document = {"format": 1, "door": "float64", "registers": 0, "codes": 0, "outputs": [], "strings": []}
    program = FeatureProgram(
        document | {"index": [], "operations": [], "texts": [sizes], "width": 64}, np.zeros(0), schema
    )
    reader, encoder = RecordReader(schema), program.encoder()
    frame = reader.new_frame(1)
    assert not reader.read(frame, {"t": "abcdefgh" * 500})
    encoder.bind(np.zeros((1, 64)))
    assert lets_others_run(lambda: encoder.encode_bound(frame.capsule))


def test_running_the_native_model(predictor):
    binding = predictor.session.binding(ROWS, outputs=predictor.outputs.wanted)
    binding.input[:] = 0.0
    assert lets_others_run(binding.run)


@pytest.mark.parametrize("backend", ["c", "python"])
def test_running_onnx_runtime(predictor, penguins_bundle, backend):
    session = OnnxSession.open(penguins_bundle.members["model.onnx"], backend=backend)
    binding = session.binding(ROWS, outputs=predictor.outputs.wanted)
    binding.input[:] = 0.0
    assert lets_others_run(binding.run)
    feeds = {"dense": np.zeros((ROWS, binding.input.shape[1]), dtype=binding.input.dtype)}
    assert lets_others_run(lambda: session.run(feeds))


def test_opening_a_model(penguins_bundle):
    model = penguins_bundle.members["model.onnx"]
    assert lets_others_run(lambda: OnnxSession.open(model, backend="c"), calls=50)


def test_making_a_picture():
    levels = np.zeros((600, 800, 3), dtype=np.uint8)
    program = PictureProgram(ImageSpec(width=320, height=240, resize="area"))
    finished, numbers = np.empty(program.picture_bytes, dtype=np.uint8), np.empty(program.n_numbers)
    assert lets_others_run(lambda: program.put(levels, finished, numbers))
