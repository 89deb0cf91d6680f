import gc
import os
import subprocess
import sysconfig
from importlib.metadata import version

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeml.kernels.onnx_session import Bound, Library, Session
from edgeml.runtime.onnx_session import find_library

PAGE = os.sysconf("SC_PAGE_SIZE")


class Refused(Exception):
    pass


def square(dtype=TensorProto.FLOAT, shape=("N", 2), operator="Mul"):
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def library():
    return Library(os.fsencode(find_library()), Refused)


def opened(library, model):
    return Session(library, model, 1, False, False, False)


def test_the_library_tells_its_version(library):
    assert library.version == version("onnxruntime")


def test_what_is_refused_comes_as_the_error_class_that_was_given(library):
    with pytest.raises(Refused):
        opened(library, b"garbage")
    session = opened(library, square())
    with pytest.raises(Refused, match="x"):
        session.run((np.zeros((1, 3), np.float32),))
    with pytest.raises(Refused, match="nowhere"):
        Library(b"/nowhere/libonnxruntime.so", Refused)


def test_a_library_that_is_too_old_says_its_version(tmp_path):
    source = tmp_path / "old.c"
    source.write_text(
        "static const void *const *api(unsigned v) { (void)v; return 0; }\n"
        'static const char *version(void) { return "1.4.0"; }\n'
        "static const struct { const void *const *(*api)(unsigned); const char *(*version)(void); } base"
        " = {api, version};\n"
        "const void *OrtGetApiBase(void) { return &base; }\n"
    )
    built = tmp_path / "libold.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(built), str(source)], check=True)
    with pytest.raises(Refused, match="libold.so is ONNX Runtime 1.4.0.*install onnxruntime"):
        Library(os.fsencode(built), Refused)


def test_a_tensor_is_a_buffer_that_outlives_its_session(library):
    session = opened(library, square())
    made = session.run((np.array([[2, 3], [4, 5]], dtype=np.float32),))[0]
    view = memoryview(made)
    del session, made
    gc.collect()
    assert (view.format, view.shape, view.strides, view.readonly) == ("f", (2, 2), (8, 4), False)
    assert view.tolist() == [[4, 9], [16, 25]]


def test_memory_safety_is_checked_here(library):
    session = opened(library, square())
    good = np.zeros((1, 2), np.float32)
    for bad in (np.zeros((1, 2)), np.zeros((4, 4), np.float32)[:, ::2], b"bytes", 5, None):
        with pytest.raises((ValueError, TypeError, BufferError)):
            session.run((bad,))
        with pytest.raises((ValueError, TypeError, BufferError)):
            Bound(session, bad, (0,), (good,))
        with pytest.raises((ValueError, TypeError, BufferError)):
            Bound(session, good, (0,), (bad,))
    with pytest.raises(ValueError, match="1 inputs, 2 were given"):
        session.run((good, good))
    for indexes, arrays in (((1,), (good,)), ((-1,), (good,)), ((0,), ()), ((0,), (good, good))):
        with pytest.raises(ValueError):
            Bound(session, good, indexes, arrays)
    frozen = good.copy()
    frozen.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        Bound(session, good, (0,), (frozen,))
    for arguments in ((None, b"", 1, False, False, False), (library, None, 1, False, False, False)):
        with pytest.raises(TypeError):
            Session(*arguments)


def test_strings_must_fill_their_shape(library):
    session = opened(library, string_model())
    assert session.run((((2, 1), [b"a", b"b"]),)) == [((2, 1), ["a", "b"])]
    with pytest.raises(ValueError, match="do not fill"):
        session.run((((2, 1), [b"a"]),))
    with pytest.raises(TypeError):
        session.run((((1, 1), ["a"]),))
    with pytest.raises(ValueError):
        Bound(session, np.zeros((1, 1), np.float32), (), ())


def string_model():
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["N", 1])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["N", 1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_a_binding_writes_where_it_was_told(library):
    session = opened(library, square())
    given, made = np.array([[3, 4]], np.float32), np.zeros((1, 2), np.float32)
    bound = Bound(session, given, (0,), (made,))
    del session
    gc.collect()
    for value in (1, 2, 3):
        given[:] = value
        bound.run()
        assert made.tolist() == [[value * value] * 2]


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
@pytest.mark.parametrize("what", ["sessions", "refused models", "runs", "failing runs", "strings", "bindings"])
def test_nothing_is_leaked(library, what):
    model = square()
    session = opened(library, model)
    texts = opened(library, string_model())
    array, made = np.zeros((1000, 2), np.float32), np.zeros((1000, 2), np.float32)
    wrong = np.zeros((1000, 3), np.float32)
    words = ((1000, 1), [b"some text that is longer than a short one"] * 1000)

    def once():
        if what == "sessions":
            opened(library, model).run((array,))
        elif what == "runs":
            session.run((array,))
        elif what == "strings":
            texts.run((words,))
        elif what == "bindings":
            Bound(session, array, (0,), (made,)).run()
        else:
            with pytest.raises(Refused):
                opened(library, model[:-3]) if what == "refused models" else session.run((wrong,))

    for _ in range(100):
        once()
    before = resident()
    for _ in range(1000 if what == "runs" or what == "bindings" else 200):
        once()
    # One leaked session keeps far more than 20 KB, and one array 8 KB: 200 of them would be 1.6 MB or more.
    assert resident() - before < 1_500_000
