"""The management plane: the one process that owns the store and decides which bundle serves.

The room's law: it must survive whatever kills a worker, so it never imports the runtime and holds no model. It may
import bundles, monitor and errors. What decides (``trial`` and its parts) is pure: values in, values out; clocks,
processes and the disk are the business of the files that call it.
"""
