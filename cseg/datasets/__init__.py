"""The datasets by name: each one a module with `info`, `fetch` and `samples`.

A dataset module offers
    info(options) -> DatasetInfo
    fetch(root, work_dir, options) -> None
        makes images and labels present and verified under `root` (the config's data_dir), or
        under `work_dir` where `root` cannot be written;
    samples(root, work_dir, options) -> list[Sample]
        the train and val samples in the order of the source's lists;
    sources(root, options) -> list[Path]
        only where users describe the dataset in files of their own: those files.
To add a dataset, write such a module and name it in `MODULES`.
"""

from importlib import import_module
from types import ModuleType

from cseg.datasets.samples import DatasetInfo, Sample
from cseg.errors import ConfigError

__all__ = ["MODULES", "DatasetInfo", "Sample", "dataset_module"]

MODULES = {
    "camvid": "cseg.datasets.camvid",
    "cityscapes": "cseg.datasets.cityscapes",
    "folder": "cseg.datasets.folder",
    "shapes": "cseg.datasets.shapes",
    "voc2012": "cseg.datasets.voc2012",
}


def dataset_module(name: str) -> ModuleType:
    """Import the module of the dataset called `name`.

    Raises:
        ConfigError: no such dataset; names those there are.
    """
    if name not in MODULES:
        raise ConfigError(f"dataset: {name} is unknown; choose one of {', '.join(sorted(MODULES))}")
    return import_module(MODULES[name])
