"""Gain by class: paired over seeds, against the class's share of pixels, as kept."""

from pathlib import Path

import pandas as pd
import pytest
from evidence_classes import KEPT, PAIRS, Pair, class_gains, table


@pytest.fixture
def made(tmp_path: Path) -> Pair:
    """Two classes, three seeds; rows of another arm and another label count beside them."""
    ious = {  # by arm and label count: common, rare
        ("scratch", 30): ((0.8, 0.82, 0.84), (0.5, 0.4, 0.3)),
        ("cross", 30): ((0.81, 0.83, 0.85), (0.52, 0.43, 0.34)),
        ("within", 30): ((0.1, 0.1, 0.1), (0.1, 0.1, 0.1)),
        ("cross", 8): ((0.2, 0.2, 0.2), (0.2, 0.2, 0.2)),
    }
    pd.DataFrame([
        {"arm": arm, "n": n, "seed": seed, "class_name": name, "iou": iou, "pixels": pixels}
        for (arm, n), classes in ious.items()
        for name, pixels, seeds in zip(("rare", "common"), (10, 30), reversed(classes))
        for seed, iou in enumerate(seeds)
    ]).to_csv(tmp_path / "per_class.csv", index=False)  # fmt: skip
    return Pair(tmp_path, "made", 30, "cross")


def test_gain_is_paired_over_seeds_and_held_against_what_the_baseline_lacks(made: Pair):
    common, rare = class_gains(made)
    assert (common.name, common.share, common.iou) == ("common", 0.75, pytest.approx(0.82))
    assert common.gain == (pytest.approx(0.01), pytest.approx(0, abs=1e-12))
    assert common.mended == pytest.approx(0.01 / 0.18)
    assert (rare.name, rare.share, rare.iou) == ("rare", 0.25, pytest.approx(0.4))
    assert rare.gain == (pytest.approx(0.03), pytest.approx(0.01))  # 2, 3, 4 points
    assert rare.mended == pytest.approx(0.03 / 0.6)


def test_table_has_one_row_per_class(made: Pair):
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table((made,)).splitlines()
            if line.startswith("|")]  # fmt: skip
    assert rows[2:] == [
        ["made", "common", "75.0", "82.0", "+1.0 ± 0.0", "+5.6"],
        ["", "rare", "25.0", "40.0", "+3.0 ± 1.0", "+5.0"],
    ]


def test_kept_table_of_classes_is_that_of_the_kept_rows():
    assert KEPT.read_text("utf-8") == table(PAIRS), "run python tests/evidence_classes.py"
