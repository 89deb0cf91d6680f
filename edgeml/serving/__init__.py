"""What is asked over HTTP: the data plane, and the worker process that is told with what to answer.

Law: turns bytes into calls of an ``Engine`` and answers into bytes; decides nothing about models. May import runtime,
monitor, bundles and errors; only ``edgeml.cli`` imports it. flask and werkzeug appear in ``pages`` alone and are
imported with the first request that needs them. The front that reads requests and writes answers is a kernel, which
``service`` alone runs.
"""

from edgeml.serving.data_plane import DataPlane
from edgeml.serving.limits import Limits
from edgeml.serving.service import serve
from edgeml.serving.sockets import Listener, adopted_listener, tcp_listener, unix_listener
from edgeml.serving.warm_up import make_data_plane
from edgeml.serving.worker import work

__all__ = [
    "DataPlane",
    "Limits",
    "Listener",
    "adopted_listener",
    "make_data_plane",
    "serve",
    "tcp_listener",
    "unix_listener",
    "work",
]
