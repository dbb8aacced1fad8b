"""What the dataset modules check alike: their options, their folder, their numbers of images."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cseg.datasets.samples import DatasetInfo, Sample
from cseg.errors import ConfigError, DataError


def check_options(
    dataset: str,
    options: Mapping[str, Any],
    defaults: Mapping[str, Any],
    **choices: Collection[str],
) -> dict[str, Any]:
    """Fill in a dataset's options and check their names and types.

    `defaults` holds every option's default; an option must have the type of its default, and be one
    of its `choices` if it has some.

    Raises:
        ConfigError: an unknown name or a value of another type; names key and remedy.
    """
    for key, value in options.items():
        where = f"dataset_options: {dataset}: {key}"
        if key not in defaults:
            names = ", ".join(sorted(defaults))
            raise ConfigError(f"{where} is not an option of {dataset}; use one of {names}")
        kind = type(defaults[key])
        if type(value) is not kind:
            raise ConfigError(
                f"{where} must be of type {kind.__name__}, not {value!r}; correct it in the config"
            )
        if key in choices and value not in choices[key]:
            raise ConfigError(
                f"{where} must be {' or '.join(choices[key])}, not {value!r}; correct it in the "
                "config"
            )
    return {**defaults, **options}


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
