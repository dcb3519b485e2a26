"""Configs of the rows of the paper's tables (harmony_jax/evaluation/published.py).

Each is the paper's recipe (sections 3.4 and 4.2: 180 epochs, A_min 100, as configs/base.py has it)
with the row's model and the fields that its table is about.
"""

from ml_collections import ConfigDict

from configs import base
from harmony_jax.evaluation.published import TABLES


def row_config(number: int, key: str) -> ConfigDict:
    """The config of one row.

    Raises:
        InputError: the table has no such row; it lists those there are.
    """
    row = TABLES[number].find(key)
    config = base.get_config()
    config.model.name = row.model
    config.update_from_flattened_dict(dict(row.overrides or {}))
    return config
