"""A training on TPUs or GPUs, on paper: its step compiled ahead of time, and counted."""
