"""Cityscapes, fine annotations: 2,975 / 500 images, 19 classes.

Layout: `leftImg8bit/{train,val}/{city}/{id}_leftImg8bit.png` and
`gtFine/{train,val}/{city}/{id}_gtFine_labelIds.png`, from the official archives. The table of
classes is the one in `cityscapesscripts`, which the extra `cityscapes` installs.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cseg.datasets.archives import extract
from cseg.datasets.download import home_for
from cseg.datasets.samples import IGNORE, SPLITS, DatasetInfo, Sample, SharedOptions, require_folder
from cseg.errors import ConfigError, DataError, install_command, reason

ARCHIVES = {"leftImg8bit": "leftImg8bit_trainvaltest.zip", "gtFine": "gtFine_trainvaltest.zip"}
LOGIN = "https://www.cityscapes-dataset.com/login"
USERNAME, PASSWORD = "CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD"  # environment variables


@dataclass(frozen=True, kw_only=True)
class Options(SharedOptions):
    """The options of Cityscapes."""

    download: bool = False


def info(options: Options) -> DatasetInfo:
    """Facts of Cityscapes; classes, colours and the map from labelIds come from its own table.

    Raises:
        ConfigError: `cityscapesscripts` is not installed.
    """
    try:
        from cityscapesscripts.helpers.labels import labels
    except ImportError as error:
        raise ConfigError(
            "dataset: cityscapes needs the package cityscapesscripts; "
            f"install it: {install_command('cityscapes')}"
        ) from error
    trained = sorted((row for row in labels if 0 <= row.trainId < IGNORE), key=lambda r: r.trainId)
    return DatasetInfo(
        name="cityscapes",
        class_names=tuple(row.name for row in trained),
        palette=tuple(tuple(row.color) for row in trained),
        label_map={
            row.id: row.trainId if 0 <= row.trainId < IGNORE else IGNORE
            for row in labels
            if row.id >= 0  # -1, the licence plate, is never drawn
        },
        split_sizes={"train": 2975, "val": 500},
        licence="Cityscapes licence: non-commercial research use, after registration",
        citation="Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele: The "
        "Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016",
        labels_by="stored",
    )


def fetch(root: Path, work_dir: Path, options: Options) -> None:
    """Find the folders in `root`, unpack the official archives there, or download those.

    With `download: true`, cityscapesscripts' downloader logs in with the environment variables
    CITYSCAPES_USERNAME and CITYSCAPES_PASSWORD, else with what it has in its own store.

    Raises:
        DataError: neither folders nor archives nor credentials, or a damaged archive.
    """
    require_folder(root)
    for folder, name in ARCHIVES.items():
        if _find(root, work_dir, folder) is not None:
            continue
        home = home_for(root, work_dir)
        archive = next((p for p in (root / name, home / name) if p.is_file()), None)
        if archive is None and not options.download:
            raise DataError(
                f"neither {folder} nor {name} is in data_dir {root}; put the archive from "
                "cityscapes-dataset.com there, or set dataset_options: cityscapes: download: true"
            )
        extract(archive or _download(name, home), home / folder, inside=folder)


def samples(root: Path, work_dir: Path, options: Options) -> list[Sample]:
    """List the pairs of train and val, sorted by city and id.

    Raises:
        DataError: a folder is missing.
    """
    images, labels = (_find(root, work_dir, folder) for folder in ARCHIVES)
    if images is None or labels is None:
        raise DataError(f"leftImg8bit or gtFine is not in data_dir {root}; run fetch first")
    found = []
    for split in SPLITS:
        for path in sorted((images / split).glob("*/*_leftImg8bit.png")):
            own = path.name.removesuffix("_leftImg8bit.png")
            label = labels / split / path.parent.name / f"{own}_gtFine_labelIds.png"
            found.append(Sample(own, split, path, label))
    return found


def _find(root: Path, work_dir: Path, folder: str) -> Path | None:
    return next((p / folder for p in (root, work_dir) if (p / folder / "train").is_dir()), None)


def _download(name: str, home: Path) -> Path:
    """Fetch one official archive; the downloader checks the md5 that the site states."""
    from cityscapesscripts.download import downloader

    partial = home / "cityscapes_partial"  # the downloader goes on with what it finds here
    partial.mkdir(parents=True, exist_ok=True)
    try:
        downloader.download_packages(
            session=_session(downloader), package_names=[name],
            destination_path=str(partial), resume=True,
        )  # fmt: skip
    except DataError:
        raise
    except Exception as error:  # it raises bare Exception for whatever goes wrong
        raise DataError(
            f"cityscapes: {name} could not be downloaded ({reason(error)}); run again to go on, "
            f"delete {partial} to start over, or put the archive into data_dir yourself"
        ) from error
    (partial / name).replace(home / name)
    partial.rmdir()
    return home / name


def _session(downloader: ModuleType) -> Any:
    """A `requests.Session`, logged in by the environment, else by the downloader's store."""
    username, password = os.environ.get(USERNAME), os.environ.get(PASSWORD)
    if not (username and password):
        import appdirs  # the downloader keeps its store where this package says

        store = Path(appdirs.user_data_dir("cityscapesscripts", "cityscapes")) / "credentials.json"
        if not store.is_file():  # it would ask on the terminal, and a workflow has none
            raise DataError(
                f"no Cityscapes credentials: set {USERNAME} and {PASSWORD} in the environment, "
                "or let csDownload store them"
            )
        return downloader.login()
    import requests

    session = requests.Session()
    session.get(LOGIN, allow_redirects=False, timeout=30).raise_for_status()
    credentials = {"username": username, "password": password, "submit": "Login"}
    answer = session.post(LOGIN, data=credentials, allow_redirects=False, timeout=30)
    answer.raise_for_status()
    if answer.status_code != 302:  # the site redirects those it lets in
        raise DataError(
            f"Cityscapes refuses these credentials; correct {USERNAME} and {PASSWORD} "
            "in the environment"
        )
    return session
