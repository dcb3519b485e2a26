"""PyTorch where it is installed, else None; the tests that need it are skipped then."""

import pytest

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
