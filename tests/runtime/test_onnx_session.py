import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeml.errors import ModelError
from edgeml.kernels import histogram
from edgeml.runtime.onnx_session import LIBRARY_VARIABLE, OnnxSession, find_library

TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bool": TensorProto.BOOL,
    "object": TensorProto.STRING,
    **{
        f"{sign}int{bits}": getattr(TensorProto, f"{sign}int{bits}".upper())
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
WEIGHTS = np.arange(10, dtype=np.float32).reshape(5, 2) / 7 - 0.5


def tensor(name, dtype, shape):
    return helper.make_tensor_value_info(name, TYPES[dtype], shape)


def onnx_model(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(
        nodes, "graph", inputs, outputs, [numpy_helper.from_array(array, name) for name, array in initializers]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def classifier(n="N"):
    nodes = [
        helper.make_node("MatMul", ["dense", "weights"], ["raw"]),
        helper.make_node("Softmax", ["raw"], ["scores"], axis=1),
        helper.make_node("ArgMax", ["raw"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [tensor("label", "int64", [n]), tensor("scores", "float32", [n, 2])]
    return onnx_model(nodes, [tensor("dense", "float32", [n, 5])], outputs, [("weights", WEIGHTS)])


def expected(dense):
    raw = dense @ WEIGHTS
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    return raw.argmax(axis=1), powers / powers.sum(axis=1, keepdims=True)


def identity(dtype, shape=("N", 3)):
    node = helper.make_node("Identity", ["x"], ["y"])
    return onnx_model([node], [tensor("x", dtype, shape)], [tensor("y", dtype, shape)])


def gather():
    """Fails where an index is not 0, 1 or 2."""
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    table = ("table", np.array([1.5, 2.5, 3.5], dtype=np.float32))
    return onnx_model([node], [tensor("x", "int64", ["N", 1])], [tensor("y", "float32", ["N", 1])], [table])


def twice():
    """Gives two rows for each; says so only in a name."""
    node = helper.make_node("Concat", ["x", "x"], ["y"], axis=0)
    return onnx_model([node], [tensor("x", "float32", ["N", 2])], [tensor("y", "float32", ["M", 2])])


def zipmap():
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "raw"],
            domain="ai.onnx.ml",
            classlabels_ints=[0, 1],
            coefficients=[0.1, 0.2, -0.1, -0.2],
            intercepts=[0.0, 0.0],
            post_transform="SOFTMAX",
        ),
        helper.make_node("ZipMap", ["raw"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
    ]
    maps = helper.make_value_info(
        "maps",
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
        ),
    )
    return onnx_model(nodes, [tensor("x", "float32", ["N", 2])], [tensor("label", "int64", ["N"]), maps])


@pytest.fixture(params=["c", "python"])
def backend(request):
    return request.param


def test_auto_takes_the_c_library():
    session = OnnxSession.open(classifier())
    assert session.backend == "c"


def test_the_model_is_described(backend):
    session = OnnxSession.open(classifier(), backend=backend)
    assert session.backend == backend
    assert session.inputs == (("dense", "float32", (-1, 5)),)
    assert session.outputs == (("label", "int64", (-1,)), ("scores", "float32", (-1, 2)))
    assert session.inputs[0].name == "dense" and session.outputs[1].shape == (-1, 2)


@given(st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_both_ways_agree_with_the_sums(n, seed):
    dense = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    label, scores = expected(dense)
    for backend in ("c", "python"):
        given = OnnxSession.open(classifier(), backend=backend).run({"dense": dense})
        assert list(given) == ["label", "scores"]
        assert given["label"].dtype == np.int64 and given["scores"].dtype == np.float32
        np.testing.assert_array_equal(given["label"], label)
        np.testing.assert_allclose(given["scores"], scores, atol=1e-6)


@pytest.mark.parametrize("dtype", [name for name in TYPES if name != "object"])
def test_every_number_type_goes_in_and_out(backend, dtype):
    session = OnnxSession.open(identity(dtype), backend=backend)
    assert session.inputs == (("x", dtype, (-1, 3)),)
    for n in (0, 1, 4):
        array = np.random.default_rng(0).integers(0, 100, size=(n, 3)).astype(dtype)
        given = session.run({"x": array})["y"]
        assert given.dtype == np.dtype(dtype)
        assert given.shape == (n, 3)
        np.testing.assert_array_equal(given, array)
        given[:] = 0  # the caller's own memory


def test_strings_go_in_and_out(backend):
    session = OnnxSession.open(identity("object"), backend=backend)
    assert session.inputs[0].dtype == session.outputs[0].dtype == "object"
    for array in (
        np.array([["", "a", "grün"], ["日本", "a" * 1000, "\U0001f600"]], dtype=object),
        np.array([["x", "y", "z"]]),
        np.empty((0, 3), dtype=object),
    ):
        given = session.run({"x": array})["y"]
        assert given.dtype == object and given.shape == array.shape
        assert given.tolist() == array.tolist()
        assert all(type(text) is str for text in given.flat)


def test_bad_strings_are_refused(backend):
    session = OnnxSession.open(identity("object"), backend=backend)
    for bad in (5, None, b"x", "nul\0inside", "\ud800"):
        with pytest.raises(ModelError, match="input 'x'"):
            session.run({"x": np.array([["a", bad, "b"]], dtype=object)})


@pytest.mark.parametrize("shape", [[], [4], [2, 3, 4], [1, 1, 1, 2, 2]])
def test_any_number_of_dimensions(backend, shape):
    session = OnnxSession.open(identity("float64", shape), backend=backend)
    assert session.inputs[0].shape == tuple(shape)
    array = np.random.default_rng(1).normal(size=shape)
    array = np.asarray(array)
    given = session.run({"x": array})["y"]
    assert given.shape == tuple(shape)
    np.testing.assert_array_equal(given, array)


def test_inputs_may_lie_anyhow_in_memory(backend):
    session = OnnxSession.open(classifier(), backend=backend)
    dense = np.random.default_rng(2).normal(size=(7, 5)).astype(np.float32)
    wide = np.zeros((14, 10), dtype=np.float32)
    wide[::2, ::2] = dense
    readonly = dense.copy()
    readonly.flags.writeable = False
    for array in (np.asfortranarray(dense), wide[::2, ::2], readonly):
        np.testing.assert_allclose(session.run({"dense": array})["scores"], expected(dense)[1], atol=1e-6)


def test_several_inputs_in_any_order(backend):
    node = helper.make_node("Sub", ["a", "b"], ["y"])
    model = onnx_model(
        [node], [tensor("a", "float32", ["N"]), tensor("b", "float32", ["N"])], [tensor("y", "float32", ["N"])]
    )
    session = OnnxSession.open(model, backend=backend)
    one, two = np.array([5, 6], dtype=np.float32), np.array([1, 2], dtype=np.float32)
    assert session.run({"b": two, "a": one})["y"].tolist() == [4, 4]
    with pytest.raises(ModelError, match="one input"):
        session.binding(1, outputs=["y"])


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "'dense' is missing"),
        ({"dense": np.zeros((1, 5), np.float32), "other": np.zeros(1)}, "no input 'other'"),
        ({"dense": np.zeros((1, 5))}, "'dense'.*expected float32, got float64"),
        ({"dense": np.zeros((1, 5), ">f4")}, "'dense'.*expected float32"),
        ({"dense": np.zeros(5, np.float32)}, "'dense'.*expected 2 dimensions, got 1"),
        ({"dense": np.zeros((1, 4), np.float32)}, "dense"),
        ({"dense": [[0.0] * 5]}, "'dense'.*got list"),
    ],
)
def test_what_does_not_fit_names_the_input(backend, feeds, message):
    session = OnnxSession.open(classifier(), backend=backend)
    with pytest.raises(ModelError, match=message) as caught:
        session.run(feeds)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [1, 2, 100, 4096])
def test_a_binding_equals_a_run(backend, n):
    session = OnnxSession.open(classifier(), backend=backend)
    binding = session.binding(n, outputs=["scores", "label"])
    assert binding.input.shape == (n, 5) and binding.input.dtype == np.float32
    assert binding.input.flags.c_contiguous
    assert list(binding.outputs) == ["scores", "label"]
    for seed in range(3):
        binding.input[:] = np.random.default_rng(seed).normal(size=(n, 5))
        assert binding.run() is None
        whole = session.run({"dense": binding.input})
        for name, array in binding.outputs.items():
            assert array.dtype == whole[name].dtype
            np.testing.assert_array_equal(array, whole[name])


def test_a_binding_gives_only_what_was_asked_for(backend):
    session = OnnxSession.open(classifier(), backend=backend)
    binding = session.binding(1, outputs=["label", "label"])
    binding.input[:] = -1
    binding.run()
    assert list(binding.outputs) == ["label"]
    assert binding.outputs["label"].tolist() == expected(binding.input)[0].tolist()


@pytest.mark.parametrize("dtype", ["float64", "int64", "bool", "uint8"])
def test_a_binding_of_other_types(backend, dtype):
    binding = OnnxSession.open(identity(dtype), backend=backend).binding(2, outputs=["y"])
    binding.input[:] = np.array([[1, 0, 1], [0, 1, 0]])
    binding.run()
    np.testing.assert_array_equal(binding.outputs["y"], binding.input)


def test_the_run_of_a_binding_keeps_its_memory_alive(backend):
    run = OnnxSession.open(classifier(), backend=backend).binding(64, outputs=["scores"]).run
    for _ in range(50):
        np.full((64, 5), np.nan, dtype=np.float32)
        run()


def test_sizes_that_the_model_does_not_say_are_found(backend):
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Flatten", ["square"], ["y"], axis=1),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "any"]), tensor("sum", "float32", [])]
    session = OnnxSession.open(onnx_model(nodes, [tensor("x", "float32", ["N", 3])], outputs), backend=backend)
    binding = session.binding(2, outputs=["y"])
    assert binding.outputs["y"].shape == (2, 3)
    binding.input[:] = 3
    binding.run()
    assert binding.outputs["y"].tolist() == [[9, 9, 9], [9, 9, 9]]
    with pytest.raises(ModelError, match="'sum' is a scalar"):
        session.binding(1, outputs=["sum"])


def test_an_output_of_another_shape_fails(backend):
    session = OnnxSession.open(twice(), backend=backend)
    binding = session.binding(3, outputs=["y"])
    binding.input[:] = 1
    with pytest.raises(ModelError):
        binding.run()
    assert session.run({"x": binding.input})["y"].shape == (6, 2)


def test_what_cannot_be_bound(backend):
    session = OnnxSession.open(classifier(), backend=backend)
    with pytest.raises(ModelError, match="no output 'proba'"):
        session.binding(1, outputs=["proba"])
    with pytest.raises(ModelError, match="at least one row"):
        session.binding(0, outputs=["label"])
    for model in (identity("object"), identity("float32", ["N"]), identity("float32", ["N", "width"])):
        with pytest.raises(ModelError, match="only a model with one input"):
            OnnxSession.open(model, backend=backend).binding(1, outputs=["y"])
    label = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_int64s=[1], values_strings=["a"])
    model = onnx_model([label], [tensor("x", "int64", ["N", 1])], [tensor("y", "object", ["N", 1])])
    with pytest.raises(ModelError, match="'y' holds strings"):
        OnnxSession.open(model, backend=backend).binding(1, outputs=["y"])


def test_a_failing_run_leaves_the_session_usable(backend):
    session = OnnxSession.open(gather(), backend=backend)
    binding = session.binding(1, outputs=["y"])
    for _ in range(3):
        with pytest.raises(ModelError, match="Gather") as caught:
            session.run({"x": np.array([[7]])})
        assert "\n" not in str(caught.value)
        binding.input[:] = -9
        with pytest.raises(ModelError, match="Gather"):
            binding.run()
        assert session.run({"x": np.array([[2], [0]])})["y"].tolist() == [[3.5], [1.5]]
        binding.input[:] = 1
        binding.run()
        assert binding.outputs["y"].tolist() == [[2.5]]


def test_garbage_is_no_model(backend):
    whole = classifier()
    for data in (b"", b"garbage", bytes(1000), whole[:-1], whole[: len(whole) // 2]):
        with pytest.raises(ModelError) as caught:
            OnnxSession.open(data, backend=backend)
        assert str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="bytes, not str"):
        OnnxSession.open("model.onnx", backend=backend)


def test_maps_are_refused(backend):
    with pytest.raises(ModelError, match="output 'maps'.*export with zipmap off"):
        OnnxSession.open(zipmap(), backend=backend)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 2}, "'threads' is unknown"),
        ({"intra_op_threads": 0}, "intra_op_threads"),
        ({"intra_op_threads": 65}, "intra_op_threads"),
        ({"intra_op_threads": True}, "intra_op_threads"),
        ({"intra_op_threads": "1"}, "intra_op_threads"),
        ({"spinning": 1}, "spinning"),
        ({"arena": "yes"}, "arena"),
        ({"memory_pattern": None}, "memory_pattern"),
    ],
)
def test_bad_options_are_named(backend, options, message):
    with pytest.raises(ModelError, match=message):
        OnnxSession.open(classifier(), backend=backend, **options)


def test_a_bad_backend_is_named():
    with pytest.raises(ModelError, match="'java'"):
        OnnxSession.open(classifier(), backend="java")


def test_options_do_not_change_the_answers(backend):
    dense = np.random.default_rng(3).normal(size=(9, 5)).astype(np.float32)
    for options in ({"intra_op_threads": 2, "spinning": True}, {"arena": True, "memory_pattern": True}):
        session = OnnxSession.open(classifier(), backend=backend, **options)
        np.testing.assert_allclose(session.run({"dense": dense})["scores"], expected(dense)[1], atol=1e-6)


def test_threads_share_one_session(backend):
    session = OnnxSession.open(classifier(), backend=backend)
    failures = []

    def work(seed):
        try:
            dense = np.random.default_rng(seed).normal(size=(8, 5)).astype(np.float32)
            label, scores = expected(dense)
            binding = session.binding(8, outputs=["scores"])
            binding.input[:] = dense
            for _ in range(200):
                np.testing.assert_array_equal(session.run({"dense": dense})["label"], label)
                binding.run()
                np.testing.assert_allclose(binding.outputs["scores"], scores, atol=1e-6)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# The library


def test_a_named_library_that_is_missing_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv(LIBRARY_VARIABLE, str(tmp_path / "nowhere.so"))
    for backend in ("c", "auto"):
        with pytest.raises(ModelError, match=f"nowhere.so.*{LIBRARY_VARIABLE}"):
            OnnxSession.open(classifier(), backend=backend)
    assert OnnxSession.open(classifier(), backend="python").backend == "python"


def test_a_named_file_that_is_another_library_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv(LIBRARY_VARIABLE, histogram.__file__)
    with pytest.raises(ModelError, match="not ONNX Runtime's library"):
        OnnxSession.open(classifier(), backend="c")
    text = tmp_path / "text.so"
    text.write_text("no library at all")
    monkeypatch.setenv(LIBRARY_VARIABLE, str(text))
    with pytest.raises(ModelError, match="text.so"):
        OnnxSession.open(classifier(), backend="c")


def test_a_named_library_is_used(monkeypatch):
    path = find_library()
    monkeypatch.setenv(LIBRARY_VARIABLE, path)
    assert find_library() == path
    assert OnnxSession.open(classifier()).backend == "c"


def answers_of(code, *, blocked=False):
    """Runs code on the model given at stdin in a fresh process; ``blocked`` hides the package onnxruntime."""
    block = "import sys; sys.modules['onnxruntime'] = None\n" if blocked else "import sys\n"
    head = "import numpy as np\nfrom edgeml.runtime.onnx_session import OnnxSession\nmodel = sys.stdin.buffer.read()\n"
    environment = {name: value for name, value in os.environ.items() if name != LIBRARY_VARIABLE}
    return subprocess.run(
        [sys.executable, "-c", block + head + code], input=gather(), capture_output=True, env=environment, check=True
    )


def test_the_c_way_never_imports_onnxruntime_and_is_silent():
    code = (
        "session = OnnxSession.open(model)\n"
        "print(session.backend, session.run({'x': np.array([[1]])})['y'])\n"
        "try: session.run({'x': np.array([[9]])})\n"
        "except Exception as error: print(type(error).__name__)\n"
        "assert not any(name.split('.')[0] == 'onnxruntime' for name in sys.modules)\n"
    )
    done = answers_of(code)
    assert done.stderr == b""
    assert done.stdout.split() == [b"c", b"[[2.5]]", b"ModelError"]


def test_without_the_library_auto_takes_the_python_binding():
    code = (
        "import edgeml.runtime.onnx_session as module\n"
        "module.find_library = lambda: None\n"
        "session = OnnxSession.open(model)\n"
        "print(session.backend, session.run({'x': np.array([[1]])})['y'])\n"
        "try: OnnxSession.open(model, backend='c')\n"
        "except Exception as error: print(error)\n"
    )
    lines = answers_of(code).stdout.decode().splitlines()
    assert lines[0] == "python [[2.5]]"
    assert "was not found" in lines[1] and LIBRARY_VARIABLE in lines[1]


def test_without_the_package_there_is_a_clear_error():
    code = "try: OnnxSession.open(model, backend='python')\nexcept Exception as error: print(error)\n"
    assert b"onnxruntime cannot be imported" in answers_of(code, blocked=True).stdout
