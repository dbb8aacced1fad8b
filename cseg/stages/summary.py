"""Stage `summary`: collect the files of many run folders into one set of tidy CSVs per dataset.

A run folder is `results/{name}/{arm}/n{n}/seed{seed}/`. Its `metrics.csv` (one row) says which
run it is; every other row collected from the folder carries the same four columns.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cseg.errors import DataError, readable
from cseg.storage.files import check_unchanged, read_json, write_checksums
from cseg.storage.tables import write_table

log = logging.getLogger(__name__)

KEY = ["dataset", "arm", "n", "seed"]
STAGES = ("pretrain", "finetune", "evaluate")
COST_COLUMNS = ["seconds", "images_per_second", "peak_memory_mib", "device"]
PER_RUN_CSVS = ("per_class", "per_image", "confusion", "pseudo")
Run = tuple[Path, pd.Series]  # its folder, and the row of its metrics.csv


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
    runs: list[Run] = [(folder, row.iloc[0]) for folder, row in zip(finished, metrics)]

    out_dir = Path(out_dir)
    tables = {"summary": rows}
    for name in PER_RUN_CSVS:
        parts = [_keyed(folder / f"{name}.csv", row) for folder, row in runs]
        tables[name] = pd.concat(parts, ignore_index=True)
    if tables["pseudo"].empty:  # of a stage that only some arms have
        del tables["pseudo"]
    if ablations:
        plan = [(g, s, arm) for g, settings in ablations.items() for s, arm in settings.items()]
        tables["ablations"] = pd.DataFrame(plan, columns=["group", "setting", "arm"], dtype=str)
    tables |= {"curves": _curves(runs), "cost": _cost(runs)}
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


def _keyed(path: Path, run: pd.Series, **more: str) -> pd.DataFrame:
    """The rows of a file with the run's key and `more` in front; none where there is no file."""
    rows = _read_csv(path) if path.is_file() else pd.DataFrame(dtype=str)
    key = run[KEY].to_dict() | more
    front = pd.DataFrame([key] * len(rows), columns=list(key), dtype=str)
    return pd.concat([front, rows.drop(columns=KEY, errors="ignore")], axis=1)


def _curves(runs: Sequence[Run]) -> pd.DataFrame:
    parts = [pd.DataFrame(columns=[*KEY, "stage", "step", "loss", "lr"], dtype=str)]
    for folder, row in runs:
        parts += [_keyed(folder / f"{stage}.csv", row, stage=stage) for stage in STAGES]
    return pd.concat(parts, ignore_index=True)


def _cost(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run and stage; a stage without a cost file has its seconds from metrics.csv."""
    rows = []
    for folder, row in runs:
        key = row[KEY].to_dict()
        for stage in STAGES:
            path = folder / f"{stage}_cost.json"
            cost = read_json(path) if path.is_file() else {}
            seconds = row.get(f"{stage}_seconds", "")
            if not cost and float(seconds or 0):
                cost = {"seconds": seconds, "device": row.get("device", "")}
            if cost:
                rows.append({**key, "stage": stage, **{c: cost.get(c, "") for c in COST_COLUMNS}})
    return pd.DataFrame(rows, columns=[*KEY, "stage", *COST_COLUMNS])
