"""The parts of scripts/benchmark.py, a module a command."""
