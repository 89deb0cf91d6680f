"""``python -m edgeml``: the same as the ``edgeml`` command."""

from edgeml.cli import main

main()
