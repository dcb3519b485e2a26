"""One row of the paper's tables, configs/table.py:TABLE,ROW; docs/experiments.md says more.

    python main.py --config=configs/table.py:3,dih_flip --workdir=runs/table3/dih_flip \\
        --config.data.root=IHARMONY4

Each row is the paper's recipe (sections 3.4 and 4.2: 180 epochs, A_min 100, as configs/base.py has
it) with its model and fields (harmony_jax/evaluation/published.csv).
"""

from ml_collections import ConfigDict

from configs import base
from harmony_jax.errors import InputError
from harmony_jax.evaluation.published import find_table


def get_config(table_and_row: str = "") -> ConfigDict:
    number, _, key = table_and_row.partition(",")
    if not number.isdecimal():
        raise InputError(f"row {table_and_row!r}: expected TABLE,ROW, as in 3,dih_flip")
    row = find_table(int(number)).find(key)
    config = base.get_config()
    config.model.name = row.model
    config.update_from_flattened_dict(dict(row.overrides or {}))
    return config
