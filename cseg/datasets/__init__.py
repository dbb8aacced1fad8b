"""The datasets by name: each one a module with `info`, `fetch` and `samples`.

A dataset module offers
    Options
        the class of its options, with their defaults, which its functions take;
    info(options) -> DatasetInfo
    fetch(root, work_dir, options) -> None
        makes images and labels present and verified under `root` (the config's data_dir), or
        under `work_dir` where `root` cannot be written;
    samples(root, work_dir, options) -> list[Sample]
        the train and val samples in the order of the source's lists, however many there are;
    sources(root, options) -> list[Path]
        only where users describe the dataset in files of their own: those files;
    outlines(root, options) -> list[Path]
        only where users draw outlines: the file of each image from which its label is drawn;
    unlabelled(options) -> bool
        only where there may be images without labels: whether there are.
To add a dataset, write such a module and name it in `MODULES`.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from cseg.datasets.samples import SharedOptions
from cseg.errors import ConfigError
from cseg.settings.keys import build
from cseg.storage.files import fingerprint

MODULES = ("camvid", "cityscapes", "folder", "shapes", "voc2012")


def dataset_module(name: str) -> ModuleType:
    """Import the module of the dataset called `name`.

    Raises:
        ConfigError: no such dataset; names those there are.
    """
    if name not in MODULES:
        raise ConfigError(
            f"config key dataset is {name!r}, which is unknown; choose one of {', '.join(MODULES)}"
        )
    return import_module(f"cseg.datasets.{name}")


def typed_options(name: str, given: Mapping[str, Any]) -> SharedOptions:
    """The `Options` of a dataset; those that are not given have their defaults.

    Raises:
        ConfigError: no such dataset, or an option that is unknown or has a wrong value; names it.
    """
    kind: type[SharedOptions] = dataset_module(name).Options
    return build(kind, given, f"dataset_options.{name}")


def description_files(name: str, data_dir: str | Path, given: Mapping[str, Any]) -> list[str]:
    """Files that a user writes and edits to say what the dataset is; only those that exist."""
    return [str(path) for path in _listed("sources", name, data_dir, given) if path.is_file()]


def outlines_state(name: str, data_dir: str | Path, given: Mapping[str, Any]) -> str:
    """A fingerprint of names, sizes and times of the files that labels are drawn from, if any.

    It changes if one is edited, so that labels are drawn again; raises as `find_files` does.
    """
    files = _listed("outlines", name, data_dir, given)
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return fingerprint(states) if states else ""


def _listed(kind: str, name: str, data_dir: str | Path, given: Mapping[str, Any]) -> list[Path]:
    """The files that a dataset's function `kind` lists; none if it has no such function."""
    files: Callable[..., list[Path]] = getattr(dataset_module(name), kind, lambda *_: [])
    return files(Path(data_dir).expanduser(), typed_options(name, given))


def has_unlabelled(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a dataset has images beside its splits that nobody has labelled."""
    module = dataset_module(name)
    return hasattr(module, "unlabelled") and module.unlabelled(typed_options(name, given))
