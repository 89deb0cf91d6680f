"""The error function in float64, against scipy's."""

import numpy as np
import onnxruntime
from scipy.special import erf

from edgeml.builder.onnx_error_function import error_function
from edgeml.builder.onnx_graph import DOUBLE, Graph


def test_it_is_right_to_the_last_digits_everywhere():
    graph = Graph(1, "float64")
    session = onnxruntime.InferenceSession(graph.finish({"value": (error_function(graph, graph.x), DOUBLE)}))
    borders = np.array([0.0, 0.46875, 0.5, 4.0, 27.0, 1e-300, 1e3, 1e300])
    near = np.concatenate([np.nextafter(borders, 1e301), np.nextafter(borders, -1.0), borders])
    x = np.concatenate([np.linspace(-7.0, 7.0, 5001), near, -near])
    (given,) = session.run(["value"], {"dense": x.reshape(-1, 1)})
    np.testing.assert_allclose(given[:, 0], erf(x), rtol=1e-15, atol=1e-300)
    assert np.isnan(session.run(["value"], {"dense": np.array([[np.nan]])})[0]).all()
