"""The folders of the package depend on each other one way."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "harmony_jax"

# Folders, and modules outside of them. Each may import those in the rows above its own.
ORDER = [
    {"ahead", "arrays", "errors"},
    {"command_line", "disk", "losses", "normalization", "variables"},
    {"workdir"},
    {"devices"},
    {"models"},
    {"data"},
    {"weights"},
    {"build"},
    {"config_ranges"},
    {"evaluation", "photos"},
    {"paper", "training"},
    {"planning"},
    {"video"},
    {"web"},
    {"harmonize_command"},
]


def modules() -> dict[str, Path]:
    """Every module of the package by its name in it, such as `data.codecs`; "" is the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__").removesuffix(".")] = path
    return found


MODULES = modules()


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it, named as in `MODULES`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            # A name is a module itself, or belongs to one.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            own = {name for name in names if name.removeprefix("harmony_jax.") in MODULES}
            found |= own | ({str(node.module)} if names - own else set())
    return {
        name.removeprefix("harmony_jax").removeprefix(".")
        for name in found
        if name.partition(".")[0] == "harmony_jax"
    }


def row(module: str) -> int:
    (number,) = (i for i, names in enumerate(ORDER) if module.partition(".")[0] in names)
    return number


IMPORTS = [
    (module, other) for module, path in MODULES.items() if module for other in imported(path)
]


def test_the_order_names_everything_once():
    listed = [name for names in ORDER for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == {module.partition(".")[0] for module in MODULES if module}


def test_imports_go_upwards_in_the_order():
    assert len(IMPORTS) > 200
    wrong = [
        f"{module} imports {other}"
        for module, other in IMPORTS
        if other == ""  # the package's own names are for its users
        or (row(other) >= row(module) and other.partition(".")[0] != module.partition(".")[0])
    ]
    assert not wrong


def test_no_module_comes_back_to_itself():
    """Not even in functions or for type checkers."""
    waiting = {module: {other for other in imported(path)} for module, path in MODULES.items()}
    while ready := {module for module, others in waiting.items() if not others & waiting.keys()}:
        waiting = {module: others for module, others in waiting.items() if module not in ready}
    assert not waiting
