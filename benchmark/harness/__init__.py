"""Measures the gateway beside its peers. `benchmark/run.sh` starts it."""
