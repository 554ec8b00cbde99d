"""A long run under load in which every message is accounted for: `python -m bench.soak`."""
