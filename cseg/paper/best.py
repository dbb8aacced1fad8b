"""Rule `best`: the network to use at each label count, with the facts of a model card.

`best/n{n}.pt` is a copy of the `finetune.pt` of one run: of the arm that is recommended
(`Results.ranked`), its seed with the highest mIoU. That seed is chosen on the validation images,
so its own score flatters it; the mean over seeds is what to expect.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cseg.errors import readable
from cseg.paper.results import Results
from cseg.storage.files import atomic, read_json, sha256_file, write_json
from cseg.storage.tables import read_table


def best(run_dirs: Sequence[Path], dataset_json: Path, out_dir: Path) -> list[Path]:
    """Copy the best network of each label count, and write its card next to it.

    Run folders `{arm}/n{n}/seed{seed}` hold metrics.csv, per_class.csv and finetune.pt. `out_dir`
    receives `n{n}.pt` and `n{n}.json` for each n, as they spell it; the files written are returned.
    A label count gets none if no run of its best arm has kept its finetune.pt.

    Raises:
        DataError: a metrics.csv or per_class.csv cannot be read.
    """
    tables = [_read(path / "metrics.csv").assign(folder=path) for path in map(Path, run_dirs)]
    rows, info = pd.concat(tables, ignore_index=True), read_json(dataset_json)
    written = []
    tokens = rows["folder"].map(lambda path: path.parent.name)
    for token, here in rows.groupby(tokens, sort=False):
        runs = here[here["arm"] == _best_arm(here, info)]
        kept = runs[runs["folder"].map(lambda path: (path / "finetune.pt").is_file())]
        if not kept["miou"].notna().any():
            continue
        row = kept.loc[kept["miou"].idxmax()]
        weights = Path(out_dir) / f"{token}.pt"
        with atomic(weights) as temporary:
            shutil.copyfile(row["folder"] / "finetune.pt", temporary)
        card = weights.with_suffix(".json")
        write_json(card, _card(row, runs["miou"], info, weights))
        written += [weights, card]
    return written


def _best_arm(rows: pd.DataFrame, info: Mapping[str, Any]) -> str | None:
    """Name the arm that is recommended; rows are of one label count."""
    results = Results(
        folder=Path(),
        dataset="",
        info=info,
        arms=tuple(rows["arm"].unique()),
        label_counts=(int(rows["n"].iloc[0]),),
        reference="",
        tables={"summary": rows},
    )
    return next(iter(results.ranked(*results.label_counts)), None)


def _card(
    row: pd.Series, mious: pd.Series, info: Mapping[str, Any], weights: Path
) -> dict[str, object]:
    classes = _read(row["folder"] / "per_class.csv")
    iou = {name: _number(value) for name, value in zip(classes["class_name"], classes["iou"])}
    facts = ("init", "scope", "encoder", "parameters", "total_steps", "subset_fingerprint",
             "source_fingerprint", "git_revision", "cseg_version")  # fmt: skip
    return {
        "n": int(row["n"]),
        "arm": row["arm"],
        "seed": int(row["seed"]),
        "run": "/".join(row["folder"].parts[-3:]),
        "miou": float(row["miou"]),
        "miou_mean": float(mious.mean()),
        "miou_std": _number(mious.std()),
        "seeds": len(mious),
        "iou": iou,
        "dataset": row["dataset"],
        "trained_on": f"{int(row['n'])} labelled images, {row.get('subset_fingerprint', '')}",
        "measured_on": f"{info.get('val_size', 'all')} validation images",
        "licence_of_images": info.get("licence", ""),
        "citation_of_images": info.get("citation", ""),
        **{name: str(row[name]) for name in facts if name in row},
        "sha256": sha256_file(weights),
    }


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _read(path: Path) -> pd.DataFrame:
    with readable(path, "delete it and evaluate the run again"):
        return read_table(path)
