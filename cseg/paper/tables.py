"""Entry of the tables: from one experiment's CSVs to every table in four formats."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from cseg.paper.markup import Table, html_page, html_table, latex, markdown
from cseg.paper.published import published_table, read_published
from cseg.paper.results import Results, read_results
from cseg.paper.table_labels import label_table
from cseg.paper.table_main import ablation_table, main_table, pseudo_table, recommendation_table
from cseg.paper.table_means import class_tables, cost_table, separability_table
from cseg.storage.files import write_text
from cseg.storage.tables import write_table

log = logging.getLogger(__name__)


def tables(results_dir: Path, out_dir: Path, *, published: Path | None = None) -> list[Path]:
    """Write every table that the CSVs of one experiment allow.

    A table that has nothing to show is left out and named in the log with the reason. `out_dir`
    receives `{table}.csv`, `.md`, `.tex` and `.html`; the files written are returned.

    Raises:
        DataError: `summary.csv` or `published.csv` is missing or malformed.
    """
    results = read_results(results_dir)
    makers: dict[str, Callable[[Results], tuple[pd.DataFrame, list[Table]] | str]] = {
        "recommendation": recommendation_table,
        "main": main_table,
        "label_saving": label_table,
        "per_class": class_tables,
        "cost": cost_table,
        "semi_supervised": pseudo_table,
        "ablations": ablation_table,
        "separability": separability_table,
        "published": partial(published_table, published=read_published(published)),
    }
    written = []
    for name, make in makers.items():
        absent = name in results.tables and results.tables[name].empty
        table = f"there is no {name}.csv" if absent else make(results)
        if isinstance(table, str):
            log.warning("no table %s for %s: %s", name, results.dataset, table)
        else:
            title = f"{results.dataset}: {name.replace('_', ' ')}"
            written += _write(title, *table, out_dir / name)
    return written


def _write(title: str, frame: pd.DataFrame, printed: list[Table], stem: Path) -> list[Path]:
    texts = {
        "md": markdown(printed),
        "tex": latex(printed),
        "html": html_page(title, "\n".join(html_table(table) for table in printed)),
    }
    paths = [stem.with_suffix(".csv"), *(stem.with_suffix(f".{kind}") for kind in texts)]
    write_table(paths[0], frame, float_format="%.6g")
    for path, text in zip(paths[1:], texts.values()):
        write_text(path, text)
    return paths
