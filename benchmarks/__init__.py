"""Figures beside those of the peers, taken in one run.

Nothing in ``edgeml`` imports from here. ``workloads.py`` imports only numpy, pandas and scikit-learn, and the probes
only what they measure, so that each runs in the environment of its own contestant.
"""
