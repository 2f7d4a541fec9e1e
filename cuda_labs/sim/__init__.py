"""The CPU simulator: CUDA C compiled by the host's compiler, run in a helper."""
