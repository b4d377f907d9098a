"""Measurements beside installed peers, in one run, on the same inputs: what `gnn bench` shows."""
