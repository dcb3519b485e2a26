import os

import pytest
from jaxtyping import install_import_hook

from tests import compiling

# Two simulated devices, so that every test of training and evaluation runs sharded.
DEVICE_COUNT = "--xla_force_host_platform_device_count"

# Shapes and types in signatures are checked while the tests run.
install_import_hook("harmony_jax", "beartype.beartype")


# Files that take minutes come first, so that no worker is left alone with one at the end.
SLOW = ("test_sharding.py", "test_processes.py", "test_released_values.py", "test_survival.py")


def pytest_configure(config):
    """Sets what JAX reads when it is imported; what the user has set stays.

    Tests, and the programs that they start, run on the CPU: an accelerator rounds otherwise, and
    two workers cannot share one. `-m accelerator` is for it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    ours = [f"{DEVICE_COUNT}=2"]
    if config.option.markexpr != "accelerator":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        if compiling.OPTIMIZATION not in flags:  # in the workers it is: they have the same flags
            ours += compiling.quick_flags()
    added = [flag for flag in ours if flag.split("=")[0] not in flags]
    os.environ["XLA_FLAGS"] = " ".join([flags, *added]).strip()
    # Workers, the programs that tests start and later runs share what is compiled.
    if hasattr(config, "cache"):  # not with -p no:cacheprovider
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("compiled")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in SLOW)


@pytest.fixture(scope="session")
def mini_root(tmp_path_factory):
    """A data set of 20 tiny composites in iHarmony4's layout, for runs of a few steps."""
    from tests.made_data import write_iharmony4

    root = tmp_path_factory.mktemp("iharmony4")
    write_iharmony4(root, train=14, test=6)
    return root


@pytest.fixture(scope="session")
def trained(mini_root, tmp_path_factory):
    """The config and workdir of a finished training of a few steps; tests do not change it."""
    from harmony_jax.training.loop import train
    from tests.made_data import tiny_config

    config, workdir = tiny_config(mini_root), tmp_path_factory.mktemp("trained")
    train(config, workdir)
    return config, workdir
