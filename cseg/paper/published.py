"""Published values beside ours: `workflow/resources/published.csv`, only rows with a source."""

from pathlib import Path

import numpy as np
import pandas as pd

from cseg.errors import DataError, reason
from cseg.paper.markup import Section, Table
from cseg.paper.results import Results
from cseg.paper.statistics import mean_std
from cseg.paper.wording import points, signed

COLUMNS = ["dataset", "arm", "n", "measure", "value", "source"]
MEASURES = ("miou", "largest_gain_above")


def read_published(path: Path | None) -> pd.DataFrame:
    """Rows of `published.csv`; none where `path` is None.

    Columns: dataset ("any": whichever is at hand), arm and n (empty for a claim over all of them),
    measure (`miou`, or `largest_gain_above`: some arm gains more than `value` over scratch), value
    (points, 0..100), source.

    Raises:
        DataError: the file is missing, lacks a column, or a row has an unknown measure or no
            source.
    """
    if path is None:
        return pd.DataFrame(columns=COLUMNS)
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path}: {reason(error)}; give the path of published.csv"
        ) from error
    missing = [column for column in COLUMNS if column not in rows]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; add them")
    for number, row in enumerate(rows.itertuples(index=False), start=2):
        if row.measure not in MEASURES:
            raise DataError(
                f"{path}, line {number}: unknown measure {row.measure!r}; "
                f"use one of {', '.join(MEASURES)}"
            )
        if not isinstance(row.source, str) or not row.source.strip():
            raise DataError(f"{path}, line {number} has no source; name it or delete the line")
    return rows


def largest_gain(results: Results, reference: str) -> tuple[str, int, float]:
    """Arm, n and difference (fraction) of the largest mean gain of a contrastive arm.

    ("", 0, NaN) where no contrastive arm shares a cell with the reference.
    """
    gains = [
        (arm, n, results.compare(arm, reference, n).difference)
        for arm in results.contrastive_arms(reference)
        for n in results.label_counts
    ]
    gains = [each for each in gains if np.isfinite(each[2])]
    return max(gains, key=lambda each: each[2]) if gains else ("", 0, np.nan)


def published_table(
    results: Results, claims: pd.DataFrame, reference: str
) -> tuple[pd.DataFrame, list[Table]] | str:
    """One row per published value or claim: ours, the difference, the verdict."""
    if claims.empty:
        return "published.csv has no row for this dataset, or was not given"
    rows = []
    for claim in claims.itertuples(index=False):
        value = float(claim.value) / 100
        if claim.measure == "largest_gain_above":
            arm, n, ours = largest_gain(results, reference)
            verdict = "not run" if np.isnan(ours) else ("reached" if ours > value else
                                                        "not reached")  # fmt: skip
        else:
            arm, n = str(claim.arm), int(claim.n)
            ours, std = mean_std(list(results.mious.get((arm, n), {}).values()))
            inside = abs(ours - value) <= std
            verdict = "not run" if np.isnan(ours) else ("within spread" if inside else
                                                        "outside spread")  # fmt: skip
        rows.append({
            "dataset": results.dataset,
            "arm": arm,
            "n": n,
            "measure": claim.measure,
            "published": value,
            "ours": ours,
            "difference": ours - value,
            "verdict": verdict,
            "source": claim.source,
        })  # fmt: skip
    frame = pd.DataFrame(rows)
    printed = tuple(
        (
            f"gain over {reference}" if row["measure"] == "largest_gain_above" else "mIoU",
            row["arm"] or "–",
            str(row["n"]) if row["n"] else "–",
            ("> " if row["measure"] == "largest_gain_above" else "") + points(row["published"]),
            points(row["ours"]).replace("-", "−"),
            signed(row["difference"]),
            row["verdict"],
            row["source"],
        )
        for _, row in frame.iterrows()
    )
    caption = (
        f"{results.dataset}: published values and claims beside ours, in points. A claim about "
        "“some settings” is held against the contrastive arm and label count that gain most here, "
        "on this dataset and at this size; spread is one sample standard deviation over seeds."
    )
    header = ("what", "arm", "n", "published", "ours", "difference", "verdict", "source")
    table = Table(f"{results.dataset}-published", caption, header, (Section("", printed),),
                  frozenset({7}))  # fmt: skip
    return frame, [table]
