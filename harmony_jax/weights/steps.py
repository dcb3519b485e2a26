"""Where the checkpoints of a run lie, for those who read none of them."""

from pathlib import Path

FOLDER = "checkpoints"  # in the workdir; holds a folder a step


def saved_steps(folder: Path) -> list[int]:
    """Steps with a checkpoint in a `checkpoints` folder; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return [int(child.name) for child in folder.iterdir() if child.name.isdigit()]


def is_being_written(folder: Path) -> bool:
    """Whether a `checkpoints` folder holds a checkpoint that is not finished: orbax renames it."""
    return folder.is_dir() and any("orbax-checkpoint-tmp" in path.name for path in folder.iterdir())
