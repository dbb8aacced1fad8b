"""Compile every kernel of the loss for every card, type and width; takes an hour of a core.

    python tests/kernel_grid.py [FOLDER]
    CSEG_TRITON=PLACE python tests/kernel_grid.py [FOLDER]

Writes FOLDER/kernels_VERSION.csv (benchmarks/results by default), a file for each version of
Triton, row by row, and a table of all versions, kernels.md. A row whose kernels and blocks are
those of this code is not made again, so a run that was stopped goes on.
`tests/compiled_kernels.py` says what CSEG_TRITON is.
"""

import dataclasses
import itertools
import sys
from pathlib import Path

import compiled_kernels
import pandas as pd
import triton
from kernel_limits import DTYPES, MOST_SPILLED, MULTIPLY, SHARED_KIB, WIDTHS, source, wrong

from cseg.storage.tables import write_table

IDENTITY = [field.name for field in dataclasses.fields(compiled_kernels.Compiled)][:6]
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def compile_missing(out: Path) -> None:
    """Append a row for each kernel that has none."""
    missing, current = launches(), source()
    if out.exists():
        table = pd.read_csv(out, keep_default_na=False)
        table = table[table["source"] == current].set_index(IDENTITY)
        table = table[table.index.isin(list(missing))]
        write_table(out, table.reset_index())
        for row in table.index:
            del missing[row]
    for (_, card, dtype, *_), (kernel, arguments, options) in missing.items():
        row = compiled_kernels.measured(kernel, arguments, options, card, dtype)
        made = pd.DataFrame([row]).assign(triton=triton.__version__, source=current)
        made.to_csv(out, mode="a", header=not out.exists(), index=False, lineterminator="\n")
        print(f"{row} {wrong(made.iloc[0])}", flush=True)


def launches() -> dict[tuple, tuple]:
    """All kernels that this code launches, by card, type, width, flags and blocks."""
    return {
        compiled_kernels.identity(kernel, options, card, dtype): (kernel, arguments, options)
        for card, width, dtype in itertools.product(SHARED_KIB, WIDTHS, DTYPES)
        for kernel, arguments, options in compiled_kernels.all_launches(card, dtype, width)
    }


def page(table: pd.DataFrame) -> str:
    """The table in Markdown: a line for each card, type and width, versions next to each other."""
    versions = sorted(table["triton"].unique())
    table = table[table["kernel"].isin(MULTIPLY)]
    columns = [f"{what}, Triton {v}" for what in ("spilled", "shared") for v in versions]
    lines = [
        "`tests/kernel_grid.py` compiled these kernels, without the cards; none of them ran. Each "
        "line is about all kernels that multiply features: the most bytes that one spills per "
        f"thread (limit {MOST_SPILLED}), the most shared memory that one takes, and the card's "
        "limit of it, both in KiB. All use tensor cores unless the last column says otherwise.",
        "",
        f"| card | type | channels | {' | '.join(columns)} | limit | wrong |",
        "| --- | --- | ---: |" + " ---: |" * (len(columns) + 1) + " --- |",
    ]
    for (card, dtype, width), rows in table.groupby(["card", "dtype", "channels"]):
        most = rows.groupby("triton")[["spilled", "shared"]].max().reindex(versions)
        cells = [*most["spilled"], *most["shared"] / 1024]
        text = ["not compiled" if pd.isna(cell) else f"{cell:.0f}" for cell in cells]
        bad = {f"{row['kernel']} {wrong(row)}" for _, row in rows.iterrows() if wrong(row)}
        lines.append(
            f"| sm_{card} | {dtype} | {width} | {' | '.join(text)} | {SHARED_KIB[card]} | "
            f"{'; '.join(sorted(bad))} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    compile_missing(folder / f"kernels_{triton.__version__}.csv")
    files = sorted(folder.glob("kernels_*.csv"))
    tables = [pd.read_csv(file, keep_default_na=False) for file in files]
    (folder / "kernels.md").write_text(page(pd.concat(tables)))
