"""What the dataset modules check alike: their options, their folder, their numbers of images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cseg.datasets.samples import DatasetInfo, Sample
from cseg.errors import DataError


@dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """The options that every dataset has; the modules add their own."""

    relax_counts: bool = False  # whether a list may be of another length than the official one
    exclude: tuple[str, ...] = ()  # ids to leave out, which the stage fetch does


def require_folder(root: Path) -> None:
    """Ask for `root` to exist, so that a typo in data_dir does not start a large download.

    Raises:
        DataError: names the folder and both remedies.
    """
    if not root.is_dir():
        raise DataError(
            f"data_dir {root} does not exist; correct data_dir in the config, "
            "or create that folder to have the dataset put there"
        )


def check_sizes(found: Mapping[str, list[Sample]], info: DatasetInfo, relax: bool) -> list[Sample]:
    """The samples of all lists, after comparing how many each holds with the official numbers.

    Raises:
        DataError: a list is empty, or differs from the official number and `relax` is false.
    """
    for split, samples in found.items():
        official = info.split_sizes.get(split, len(samples))
        if not samples:
            raise DataError(f"the {split} list of {info.name} is empty; restore the list file")
        if len(samples) != official and not relax:
            raise DataError(
                f"the {split} list of {info.name} has {len(samples)} images instead of {official}; "
                "restore the official lists, or set "
                f"dataset_options: {info.name}: relax_counts: true to use a partial copy"
            )
    return [sample for samples in found.values() for sample in samples]
