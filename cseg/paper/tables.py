"""Entry of the tables: from one dataset's CSVs to every table in four formats."""

import logging
from pathlib import Path

import pandas as pd

from cseg.paper.markup import Section, Table, html_page, html_table, latex, markdown
from cseg.paper.published import published_table, read_published
from cseg.paper.results import Results, read_results
from cseg.paper.table_classes import class_tables
from cseg.paper.table_cost import cost_table
from cseg.paper.table_extras import ablation_table, pseudo_table, separability_table
from cseg.paper.table_labels import label_table
from cseg.paper.table_main import main_table
from cseg.storage.files import atomic, write_text

log = logging.getLogger(__name__)

CORE = ("main", "label_saving", "per_class", "cost")  # written always, with the reason if empty


def tables(
    results_dir: Path,
    out_dir: Path,
    *,
    reference: str = "scratch",
    imagenet: str = "imagenet",
    published: Path | None = None,
) -> list[Path]:
    """Write every table that the CSVs of one dataset allow.

    Always: main, label_saving, per_class, cost, and published where `published` is given; one
    that has nothing to show holds the reason. Where the results have them: semi_supervised (arms
    named `*_pseudo`), ablations (`ablations.csv`), separability (`separability.csv`); one that is
    left out is named in the log.

    Args:
        results_dir: `results/{dataset}`.
        out_dir: receives `{table}.csv`, `.md`, `.tex` and `.html`.
        reference: the arm without pretraining.
        imagenet: the arm that starts from ImageNet weights.
        published: `published.csv`; None compares with nothing.

    Returns:
        The files written.

    Raises:
        DataError: `summary.csv` or `published.csv` is missing or malformed.
    """
    results = read_results(results_dir)
    known = read_published(published)
    claims = known[(known["dataset"] == results.dataset) | (known["dataset"] == "any")]
    values = claims[claims["measure"] == "miou"]

    made: dict[str, tuple[pd.DataFrame, list[Table]] | str] = {
        "main": main_table(results, (reference, imagenet), values),
        "label_saving": label_table(results, reference),
        "per_class": class_tables(results, reference),
        "cost": cost_table(results),
        "semi_supervised": pseudo_table(results),
        "ablations": ablation_table(results),
        "separability": separability_table(results),
        "published": published_table(results, claims, reference),
    }
    written = []
    core = (*CORE, "published") if published else CORE
    for name, table in made.items():
        if isinstance(table, str) and name in core:
            table = (pd.DataFrame({"dataset": []}), [_empty(results, name, table)])
        if isinstance(table, str):
            log.warning("no table %s for %s: %s", name, results.dataset, table)
        else:
            written += _write(results, name, *table, Path(out_dir))
    return written


def _empty(results: Results, name: str, reason: str) -> Table:
    caption = f"{results.dataset}: no table {name.replace('_', ' ')}, since {reason}."
    return Table(f"{results.dataset}-{name.replace('_', '-')}", caption, ("–",), (Section("", ()),))


def _write(
    results: Results, name: str, frame: pd.DataFrame, printed: list[Table], out_dir: Path
) -> list[Path]:
    paths = [out_dir / f"{name}.{kind}" for kind in ("csv", "md", "tex", "html")]
    with atomic(paths[0]) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    write_text(paths[1], markdown(printed))
    write_text(paths[2], latex(printed))
    body = "\n".join(html_table(table) for table in printed)
    write_text(paths[3], html_page(f"{results.dataset}: {name.replace('_', ' ')}", body))
    return paths
