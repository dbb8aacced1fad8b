"""Stage fetch: make a dataset's files present and write down which image has which label."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cseg.datasets import dataset_module, typed_options
from cseg.datasets.samples import SPLITS, Sample, SharedOptions, info_to_json
from cseg.errors import ConfigError, DataError
from cseg.storage.files import write_json


def fetch(
    dataset: str, data_dir: str | Path, *, options: Mapping[str, Any], out: str | Path
) -> None:
    """Fetch `dataset` and write `out` (fetch.json).

    `data_dir` is where the dataset's files are, or where to put them; it may be read-only. The
    option `exclude` (a list of ids to leave out, in any dataset) is applied here. `out` is JSON
    with keys dataset, root, work_dir (`prepared` beside `out`, for files that cannot go to
    `data_dir`), options, info (the `DatasetInfo`) and samples (records of id, split, image, label;
    paths as reached from the working directory).

    Raises:
        ConfigError: unknown dataset or option.
        DataError: files that cannot be had, empty lists, ids listed twice.
    """
    out = Path(out)
    root = Path(data_dir).expanduser()
    work = out.parent / "prepared"
    module, chosen = dataset_module(dataset), typed_options(dataset, options)
    info = module.info(chosen)
    module.fetch(root, work, chosen)
    samples = listed_samples(dataset, root, work=work, options=chosen)
    write_json(
        out,
        {
            "dataset": dataset,
            "root": str(root),
            "work_dir": str(work),
            "options": dict(options),
            "info": info_to_json(info),
            "samples": [{k: str(v or "") for k, v in vars(sample).items()} for sample in samples],
        },
    )


def listed_samples(dataset: str, root: Path, *, work: Path, options: SharedOptions) -> list[Sample]:
    """The samples of a dataset whose files are there, without those that the options exclude.

    `root` is where the dataset's files are, and `work` where `fetch` put what could not go there.

    Raises:
        ConfigError: `exclude` is no list of ids of the dataset.
        DataError: lists that are missing, empty or not of the official size, ids listed twice.
    """
    module = dataset_module(dataset)
    samples, official = module.samples(root, work, options), module.info(options).split_sizes
    counts = Counter(sample.split for sample in samples)
    for split in SPLITS:
        if not counts[split]:
            raise DataError(
                f"the {split} list of {dataset} is empty; restore it, or name at least one image"
            )
        if counts[split] != official.get(split, counts[split]) and not options.relax_counts:
            raise DataError(
                f"the {split} list of {dataset} has {counts[split]} images instead of "
                f"{official[split]}; restore the official lists, or set "
                f"dataset_options: {dataset}: relax_counts: true to use a partial copy"
            )
    places: dict[str, list[str]] = {}
    for sample in samples:
        places.setdefault(sample.id, []).append(sample.split)
    twice = [name for name, splits in places.items() if len(splits) > 1]
    if twice:
        listed = ", ".join(f"{name} ({' and '.join(places[name])})" for name in twice[:5])
        raise DataError(
            f"{dataset} lists {len(twice)} ids more than once: {listed}; keep each in one list only"
        )
    exclude = set(options.exclude)
    unknown = sorted(exclude - places.keys())
    if unknown:
        raise ConfigError(
            f"config key dataset_options.{dataset}.exclude names {unknown[0]}, which is no id of "
            f"{dataset}; remove it"
        )
    return [sample for sample in samples if sample.id not in exclude]
