"""The benchmarks: this server beside its peers, in one run. README.md says how and what for."""
