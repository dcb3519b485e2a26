"""A training on a TPU slice, on paper: its step compiled ahead of time, and counted."""
