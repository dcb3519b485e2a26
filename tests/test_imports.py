"""What an import of the package loads, and where it works."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

import harmony_jax
from harmony_jax.build import build_model, model_arguments
from harmony_jax.weights.saved_model import save_model
from tests.commands import run
from tests.made_data import tiny_config

# Needed by data sets, training, reports and the page, but not by a harmonizer.
NOT_FOR_PHOTOS = [
    "array_record",
    "av",
    "flask",
    "grain",
    "ml_collections",
    "skimage",
    "tensorboard",
    "tensorboardX",
    "tensorflow_datasets",
    "torch",
    "waitress",
]


def in_a_fresh_process(code: str, *arguments: object) -> str:
    """Runs code without the checks of annotations, and returns what it prints."""
    result = run("-c", code, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def loaded(code: str, *arguments: object) -> set[str]:
    """The top-level modules that are there after some code."""
    end = "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    return set(in_a_fresh_process(code + end, *arguments).splitlines()[-1].split())


def test_the_package_itself_loads_nothing_but_the_standard_library():
    assert loaded("import harmony_jax") - loaded("") - {"harmony_jax"} <= sys.stdlib_module_names


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workdir")
    config = tiny_config()
    model = build_model(config)
    save_model(folder, model, {"model": model_arguments(config), "image_size": 32})
    return folder


HARMONIZER = """if True:
    import sys
    import numpy as np
    from harmony_jax import Harmonizer
    assert "orbax" not in sys.modules
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    Harmonizer.from_checkpoint(sys.argv[1]).harmonize(np.zeros((64, 64, 3), np.uint8), mask)
"""
WRITER = """if True:
    import sys
    from pathlib import Path
    from harmony_jax.training.writers import TensorBoardWriter
    TensorBoardWriter(Path(sys.argv[1]) / "tensorboard", 0).close()
"""
READY = "from harmony_jax import Harmonizer; Harmonizer.from_checkpoint()"
HELP = """if True:
    from harmony_jax.harmonize_command import main
    try:
        main(["--help"])
    except SystemExit as end:
        assert end.code == 0
"""


@pytest.mark.parametrize(
    ("code", "needed", "not_needed"),
    [
        (HARMONIZER, {"jax", "orbax"}, NOT_FOR_PHOTOS),
        (READY, {"jax"}, ["orbax", *NOT_FOR_PHOTOS]),
        (HELP, {"argparse"}, ["jax", "flax", "orbax", *NOT_FOR_PHOTOS]),
        ("import main", {"absl"}, ["jax", "flax", "grain", "numpy"]),
        (WRITER, {"tensorboardX"}, ["torch"]),
        ("from harmony_jax import evaluate", {"grain"}, ["tensorflow_datasets"]),
    ],
)
def test_what_is_not_needed_is_not_loaded(code, needed, not_needed, workdir):
    found = loaded(code, workdir)
    assert needed <= found
    assert not found.intersection(not_needed)


def test_public_names_are_there_and_type_checkers_see_where():
    tree = ast.parse(Path(harmony_jax.__file__).read_text())
    seen = {
        alias.name: importlib.import_module(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("harmony_jax.")
        for alias in node.names
    }
    assert sorted(seen) == harmony_jax.__all__
    for name, module in seen.items():
        assert getattr(harmony_jax, name) is getattr(module, name)
    assert set(seen) <= set(dir(harmony_jax))
    with pytest.raises(AttributeError, match="has no attribute 'Harmoniser'"):
        harmony_jax.Harmoniser  # noqa: B018


def test_every_module_can_be_imported_where_posix_is_not():
    """As on Windows, as far as that can be tested here."""
    code = """if True:
        import importlib, pkgutil, signal, sys
        import jax, grain, tensorflow_datasets  # need these here, but not on Windows
        for name in list(sys.modules):
            if name.startswith("array_record."):
                del sys.modules[name]
        for name in ("array_record", "fcntl", "grp", "pwd", "resource", "termios"):
            sys.modules[name] = None
        del signal.SIGHUP
        import harmony_jax
        for module in pkgutil.walk_packages(harmony_jax.__path__, "harmony_jax."):
            importlib.import_module(module.name)
            print(module.name)
    """
    names = in_a_fresh_process(code).split()
    assert "harmony_jax.workdir" in names
    assert len(names) > 100
