"""What is watched on the side of the request path: how long answers take, tier by tier.

The room's law: it observes and never decides; nothing here can change, delay or lose an answer. It imports kernels
and errors only, and no numpy, so that a process which merely reads the figures stays small.
"""

from edgeml.monitor.latency import LatencyMonitor

__all__ = ["LatencyMonitor"]
