"""Stage `summary`: collect the files of many run folders into one set of tidy CSVs per dataset.

A run folder is `results/{name}/{arm}/n{n}/seed{seed}/`. Its `metrics.csv` (one row) says which
run it is; every other row collected from the folder carries the same four columns.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cseg.errors import DataError, readable
from cseg.storage.checksums import check_unchanged, write_checksums
from cseg.storage.files import read_json
from cseg.storage.tables import write_table

log = logging.getLogger(__name__)

KEY = ["dataset", "arm", "n", "seed"]
STAGES = ("pretrain", "finetune", "evaluate")
COST_COLUMNS = ["seconds", "images_per_second", "peak_memory_mib", "device"]
PER_RUN_CSVS = ("per_class", "per_image", "confusion")
OPTIONAL_CSVS = ("pseudo",)  # of stages that only some arms have; collected where any run has them


def summary(
    run_dirs: Sequence[Path],
    out_dir: Path,
    *,
    ablations: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Path]:
    """Collect runs into `summary.csv` and its companions under `out_dir`; return the files written.

    `run_dirs` are run folders, or the `metrics.csv` inside them, in the order of the rows. A folder
    without `metrics.csv` is a run that is missing or failed: it is named in the log and has no
    rows. `out_dir` receives summary.csv, per_class.csv, per_image.csv, confusion.csv, curves.csv
    and cost.csv, pseudo.csv where a run has such a file, and checksums.json of them; ablations.csv
    says what the ablation table compares: group -> setting -> arm, the first setting of a group
    being what the others are compared with.

    Raises:
        DataError: no run has finished, two runs claim the same arm, n and seed, runs of different
            datasets are mixed, a `metrics.csv` is not one row with the key columns, or a
            file has changed since it was written.
    """
    folders = [path.parent if path.name == "metrics.csv" else path for path in map(Path, run_dirs)]
    finished = [folder for folder in folders if (folder / "metrics.csv").is_file()]
    for folder in folders:
        if folder not in finished:
            log.warning("no metrics.csv in %s: the run is left out", folder)
    if not finished:
        raise DataError(
            f"none of the {len(folders)} run folders for {out_dir} holds a metrics.csv; "
            "finish at least one run first"
        )

    metrics = [_read_metrics(folder) for folder in finished]
    rows = pd.concat(metrics, ignore_index=True)
    _check_keys(rows, finished)
    keys = [row[KEY].iloc[0].to_dict() for row in metrics]

    out_dir = Path(out_dir)
    tables = {"summary": rows}
    for name in PER_RUN_CSVS + OPTIONAL_CSVS:
        parts = [_keyed(folder / f"{name}.csv", key) for folder, key in zip(finished, keys)]
        parts = [part for part in parts if part is not None]
        if parts or name in PER_RUN_CSVS:
            empty = pd.DataFrame(columns=KEY, dtype=str)
            tables[name] = pd.concat([empty, *parts], ignore_index=True)
    if ablations:
        plan = [(g, s, arm) for g, settings in ablations.items() for s, arm in settings.items()]
        tables["ablations"] = pd.DataFrame(plan, columns=["group", "setting", "arm"], dtype=str)
    tables |= {"curves": _curves(finished, keys), "cost": _cost(finished, keys, metrics)}
    paths = [out_dir / f"{name}.csv" for name in tables]
    for path, table in zip(paths, tables.values()):
        write_table(path, table)
    return [*paths, write_checksums(paths)]


def _read_metrics(folder: Path) -> pd.DataFrame:
    path = folder / "metrics.csv"
    row = _read_csv(path)
    if len(row) != 1 or any(column not in row for column in [*KEY, "miou"]):
        raise DataError(
            f"{path} must hold one row with columns {', '.join([*KEY, 'miou'])}; "
            "delete it and evaluate the run again"
        )
    return row


def _check_keys(rows: pd.DataFrame, folders: list[Path]) -> None:
    if len(set(rows["dataset"])) > 1:
        names = ", ".join(sorted(rows["dataset"].unique()))
        raise DataError(f"runs of several datasets ({names}) in one summary; summarise each alone")
    repeated = rows.duplicated(KEY)
    if repeated.any():
        folder = folders[int(repeated.to_numpy().nonzero()[0][0])]
        raise DataError(
            f"{folder} repeats the arm, n and seed of another run; take one of two label_counts "
            "that give as many images, or run it with another results_dir"
        )


def _read_csv(path: Path) -> pd.DataFrame:
    """Read every column as text, so that ids, hashes and digits pass through unchanged."""
    check_unchanged(path)
    with readable(path, "delete it and run again"):
        return pd.read_csv(path, dtype=str, keep_default_na=False)


def _keyed(path: Path, key: dict[str, str]) -> pd.DataFrame | None:
    """Read the file with the run's key columns in front; None where there is no such file."""
    if not path.is_file():
        return None
    rows = _read_csv(path)
    rest = rows.drop(columns=[column for column in KEY if column in rows])
    front = pd.DataFrame([key] * len(rest), columns=KEY, dtype=str)
    return pd.concat([front, rest.reset_index(drop=True)], axis=1)


def _curves(folders: list[Path], keys: list[dict[str, str]]) -> pd.DataFrame:
    parts = []
    for folder, key in zip(folders, keys):
        for stage in STAGES:
            rows = _keyed(folder / f"{stage}.csv", key)
            if rows is not None:
                rows.insert(len(KEY), "stage", stage)
                parts.append(rows)
    columns = [*KEY, "stage", "step", "loss", "lr"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _cost(
    folders: list[Path], keys: list[dict[str, str]], metrics: list[pd.DataFrame]
) -> pd.DataFrame:
    """One row per run and stage; a stage without a cost file has its seconds from metrics.csv."""
    rows = []
    for folder, key, row in zip(folders, keys, metrics):
        for stage in STAGES:
            path = folder / f"{stage}_cost.json"
            cost = read_json(path) if path.is_file() else {}
            seconds = row[f"{stage}_seconds"].iloc[0] if f"{stage}_seconds" in row else ""
            if not cost and seconds and float(seconds):
                device = row["device"].iloc[0] if "device" in row else ""
                cost = {"seconds": seconds, "device": device}
            if cost:
                rows.append({**key, "stage": stage, **{c: cost.get(c, "") for c in COST_COLUMNS}})
    return pd.DataFrame(rows, columns=[*KEY, "stage", *COST_COLUMNS])
