"""Files cut short or altered between runs: found, named, and made good by what the message says."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from disturbed_runs import DATA, RESULTS, RUN, again, assert_same_results, copied, sentences

pytestmark = pytest.mark.fault


def cut(path: Path) -> None:
    """Leave the first half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def alter(path: Path) -> None:
    """Change one bit in the middle of a binary file, the last digit of a text."""
    data = bytearray(path.read_bytes())
    place = len(data) // 2
    if path.suffix == ".csv":
        place = max(i for i, byte in enumerate(data) if chr(byte).isdigit())
    data[place] ^= 1
    path.write_bytes(data)


def drop_last_row(path: Path) -> None:
    """Leave a sound CSV that lacks its last row."""
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def stale_state(path: Path) -> None:
    """Put the beginning of a training state where a training will look for one."""
    path.write_bytes(path.with_suffix(".pt").read_bytes()[:1000])


LABELLED = "train_00001"  # read below, so that a change of the draw does not pass unnoticed
CASES = [  # file, damage, rules to run again, what is said of the file, remedy
    (DATA / f"train/images/{LABELLED}.png", alter, ["pretrain"], "has changed", "restore"),
    (DATA / f"train/images/{LABELLED}.png", cut, ["pretrain"], "has changed", "restore"),
    (DATA / f"train/labels/{LABELLED}.png", alter, ["finetune"], "has changed", "restore"),
    (DATA / "val/images/val_00000.png", alter, ["evaluate"], "has changed", "restore"),
    (DATA / "val/labels/val_00000.png", cut, ["evaluate"], "has changed", "restore"),
    (RESULTS / "index.csv", cut, [], "has changed", "delete"),
    (RESULTS / "index.csv", alter, [], "has changed", "delete"),
    (RESULTS / "index.csv", drop_last_row, [], "has changed", "delete"),
    (RESULTS / "subsets/n4_seed0.csv", cut, [], "subset", "delete"),
    (RESULTS / "subsets/n4_seed0.csv", alter, [], "subset", "delete"),
    (RESULTS / "subsets/n4_seed0.csv", drop_last_row, [], "has changed", "delete"),
    (RUN / "pretrain.pt", cut, [], "is damaged", "delete"),
    (RUN / "pretrain.pt", alter, [], "is damaged", "delete"),
    (RUN / "finetune.pt", cut, [], "is damaged", "delete"),
    (RUN / "finetune.pt", alter, [], "is damaged", "delete"),
    (RUN / "finetune.state", stale_state, ["finetune"], "is damaged", "delete"),
    (RUN / "metrics.csv", cut, [], "has changed", "delete"),
    (RUN / "metrics.csv", alter, [], "has changed", "delete"),
    (RUN / "per_image.csv", drop_last_row, ["summary"], "has changed", "delete"),
    (RESULTS / "summary.csv", cut, [], "has changed", "delete"),
    (RESULTS / "summary.csv", alter, [], "has changed", "delete"),
    (RESULTS / "summary.csv", drop_last_row, [], "has changed", "delete"),
]
KINDS = {cut: "cut short", alter: "one digit or bit altered", drop_last_row: "last row gone",
         stale_state: "cut short"}  # fmt: skip


SHORT = ("labels/train_00001.png-alter", "finetune.pt-alter", "per_image.csv-drop_last_row")


def kept(case: tuple) -> object:
    """A case with its name; one of each kind of file is tried in CI, all before a release."""
    file, damage, *_ = case
    name = f"{file.parent.name}/{file.name}-{damage.__name__}"
    mark = pytest.mark.slow if name.endswith(SHORT) else pytest.mark.long
    return pytest.param(*case, id=name, marks=mark)


@pytest.mark.parametrize(
    ("file", "damage", "rules", "said", "remedy"), [kept(case) for case in CASES]
)
def test_a_damaged_file_is_named_and_made_good(
    undisturbed: Path, tmp_path: Path, tried: Callable[..., None],
    file: Path, damage: Callable[[Path], None], rules: list[str], said: str, remedy: str,
):  # fmt: skip
    assert LABELLED in set(pd.read_csv(undisturbed / RESULTS / "subsets/n4_seed0.csv")["id"])
    folder = copied(undisturbed, tmp_path)
    damage(folder / file)
    command = ["--forcerun", *rules] if rules else []
    told = sentences(again(folder, *command))
    assert told and all(re.search(rf"{re.escape(str(file))}.* {said}|{said}.*{file.name}", each)
                        for each in told), told  # fmt: skip
    assert all(remedy in each for each in told)
    if remedy == "restore":
        shutil.copy2(undisturbed / file, folder / file)
    else:
        (folder / file).unlink()
    made = remedy == "delete" and file.suffix != ".state"
    done = again(folder, *command, also=str(file) if made else "")
    assert done.returncode == 0, done.stderr
    assert_same_results(folder, undisturbed)
    kind = "an image" if "images" in file.parts else "a label" if "labels" in file.parts else (
        file.name)  # fmt: skip
    tried("Damaged files", f"{kind}: {KINDS[damage]}", 1,
          "named in one sentence; the same results as an undisturbed run once the file is "
          f"{remedy}d")  # fmt: skip
