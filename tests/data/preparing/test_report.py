import re

from harmony_jax.data.iharmony4 import PUBLISHED
from harmony_jax.data.preparing.report import Preparation, Unreadable


def test_the_whole_of_iharmony4_is_recognized():
    listed = {(split, s): count for split in PUBLISHED for s, count in PUBLISHED[split].items()}
    assert sum(PUBLISHED["train"].values()) == 65742
    assert sum(PUBLISHED["test"].values()) == 7404
    assert Preparation(listed, [], complete=True).as_published
    lost = Preparation(listed, [Unreadable("test", "HCOCO", "a_1_1.jpg", "gone")], complete=True)
    assert not lost.as_published
    assert re.search(r"test +HCOCO +4,282 +4,283 +4,283\n", lost.table())
    assert re.search(r"test +All +7,403 +7,404 +7,404$", lost.table())
