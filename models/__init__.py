"""Examples on real data. Each folder has a ``train.py`` whose ``train()`` returns the arguments of ``edgeml.build``."""
