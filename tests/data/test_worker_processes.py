import os

import pytest

from harmony_jax import InputError
from harmony_jax.data.worker_processes import made_of


def test_a_worker_that_is_killed():
    with pytest.raises(InputError, match="a worker process was killed"):
        list(made_of([1, 2, 3], os._exit, 2))
