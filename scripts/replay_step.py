"""Runs a training step again that stopped a training because its loss was not finite.

    python scripts/replay_step.py runs/idih/nonfinite/1234

The folder is the one that training named. It holds the state before the step, and its batch.
"""

from pathlib import Path

from harmony_jax.command_line import Parser, errors_in_one_line
from harmony_jax.training.nonfinite import replay


@errors_in_one_line()
def main() -> None:
    """Prints what the step gives."""
    parser = Parser(description=__doc__)
    parser.add_argument("folder", type=Path)
    found = replay(parser.parse_args().folder)
    print(f"step {found['step']}: loss {found['loss']}, gradient norm {found['gradient_norm']}")
    print(f"samples: {', '.join(found['samples'])}")
    if found["parameters"]:
        print(f"not finite before the step: {', '.join(found['parameters'])}")
    if not found["reproduced"]:
        print("It is finite this time: on one device, with today's code and libraries.")


if __name__ == "__main__":
    main()
