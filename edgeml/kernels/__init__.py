"""The compiled inner loops: one extension for each, with its documentation in the stub beside it.

Law: a kernel knows numbers and buffers, and neither edgeml's documents nor any other kernel; they meet in the Frame's
memory (``ext/frame.h``). Sources are in ``ext/``. Imports nothing from edgeml.
"""

try:
    from edgeml.kernels import frame as frame
except ImportError as error:  # a checkout that has not been built
    raise ImportError(
        "edgeml's compiled kernels are missing or were built for another Python; in a checkout run 'make build', "
        "otherwise install edgeml again with pip"
    ) from error
