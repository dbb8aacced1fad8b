"""Stage `check`: refuse before anything trains what would end a run of some arm later."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cseg.datasets.samples import UNLABELLED
from cseg.errors import DataError
from cseg.model.network import build_segmenter
from cseg.model.weights import Start
from cseg.settings import Init, RunSettings
from cseg.settings.label_counts import Count, count_token, resolve_count
from cseg.storage.files import write_json
from cseg.storage.lists import read_index

CLASSES = 2  # any number: the encoder is looked at


def check(
    index_csv: str | Path,
    runs: Mapping[str, RunSettings],
    *,
    counts: tuple[Count, ...],
    out: str | Path,
) -> None:
    """Build every arm's network with the weights it starts from, downloaded here if they must be.

    Args:
        index_csv: written by the index stage.
        runs: settings of a run, by arm.
        counts: the planned label counts, without the names of published lists.
        out: JSON; by arm, what its encoder starts from.

    Raises:
        ConfigError: an encoder or weights that timm does not know, a stride or map that the encoder
            does not have, a file of weights that is missing or has another checksum.
        TrainingError: weights that cannot be downloaded, or do not fit.
        DataError: an arm learns from unlabelled images and a label count leaves none.
    """
    _check_unlabelled(index_csv, runs, counts)
    starts: dict[Init, Start] = {}  # the network is the same in every arm
    for run in runs.values():
        if run.init not in starts:
            starts[run.init] = build_segmenter(run.model, CLASSES, run.init).start
    write_json(out, {arm: asdict(starts[run.init]) for arm, run in runs.items()})


def _check_unlabelled(
    index_csv: str | Path, runs: Mapping[str, RunSettings], counts: tuple[Count, ...]
) -> None:
    learning = [
        arm for arm, run in runs.items() if run.pseudolabel or run.finetune.consistency.weight
    ]
    splits = read_index(index_csv)["split"]
    train = int((splits == "train").sum())
    if not learning or (splits == UNLABELLED).any():
        return
    for n in counts:
        if resolve_count(n, train) >= train:
            raise DataError(
                f"label count {count_token(n)} labels every training image of {index_csv}, so none "
                f"is left for the arm {learning[0]}, which learns from unlabelled ones; lower "
                "label_counts, leave out the arm, or add unlabelled images"
            )
