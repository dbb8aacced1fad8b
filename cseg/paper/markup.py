"""A table as plain data, and the same table as Markdown, LaTeX and HTML (by tabulate)."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

OPEN, CLOSE = "\ue000", "\ue001"  # mark a bold cell until its format is known
# signs that pdflatex lacks; tabulate escapes the others
LATEX_SIGNS = {"±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "–": "--", "≤": r"$\leq$",
               "≥": r"$\geq$", "→": r"$\rightarrow$", "…": r"\dots{}"}  # fmt: skip
# what Markdown would take for its own: columns, stars, and the begin of a tag
MARKDOWN_SIGNS = re.compile(r"[|*]|<(?=[A-Za-z/!?])")
# by format: its name for tabulate, and what replaces signs in its text
FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    "md": ("pipe", {OPEN: "**", CLOSE: "**"}),
    "html": ("html", {OPEN: "<b>", CLOSE: "</b>"}),
    "tex": ("latex_booktabs", {OPEN: r"\textbf{", CLOSE: "}", **LATEX_SIGNS}),
}
Lines = list[tuple[str, ...]]  # rows of a part of a table
STYLE = """
body{font:15px/1.5 system-ui,"DejaVu Sans",sans-serif;color:#222;max-width:70em;margin:2em auto;
padding:0 1em}
table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums}
th,td{padding:.25em .8em;white-space:nowrap}
th:not([style]),td:not([style]){text-align:left;white-space:normal}
thead tr{border-top:2px solid #222;border-bottom:1px solid #222}
tbody{border-bottom:2px solid #222}
.caption,figcaption{color:#444;max-width:60em;margin:.5em 0}
figure{margin:1em 0}
img{max-width:100%}
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:1.6em}
code{background:#f2f2f2;padding:.1em .3em}
.answer{font-size:1.15em;border-left:4px solid #0173b2;padding-left:.8em}
.answer p{margin:.3em 0}
.scroll{overflow-x:auto}
"""


@dataclass(frozen=True)
class Table:
    """A captioned table of texts."""

    label: str  # its name in LaTeX
    caption: str  # what stands above it
    header: tuple[str, ...]  # names of the columns
    # cells; a cell of the first column that is "" belongs to the row above
    rows: tuple[tuple[str, ...], ...]
    # columns of left-aligned prose; the first column is left-aligned, too
    prose: frozenset[int] = frozenset()

    @property
    def titled(self) -> bool:
        """Whether the first column holds titles of parts, as `sections` makes them."""
        return any(row[0] == "" for row in self.rows)

    @property
    def left(self) -> frozenset[int]:
        """Left-aligned columns: the first, the second below titles of parts, and prose."""
        return self.prose | ({0, 1} if self.titled else {0})


def strong(cell: str) -> str:
    """The cell in bold."""
    return f"{OPEN}{cell}{CLOSE}"


def sections(*parts: tuple[str, Sequence[Sequence[str]]]) -> tuple[tuple[str, ...], ...]:
    """Rows of several titled parts: each title stands in the first cell of its first row."""
    return tuple(
        (title if place == 0 else "", *row)
        for title, rows in parts
        for place, row in enumerate(rows)
    )


def _cells(table: Table, kind: str) -> str:
    name, signs = FORMATS[kind]
    rows: Sequence[Sequence[str]] = table.rows
    if kind == "md":
        rows = [[MARKDOWN_SIGNS.sub(r"\\\g<0>", cell) for cell in row] for row in rows]
    aligned = ["left" if c in table.left else "right" for c in range(len(table.header))]
    text = tabulate(rows, table.header, name, disable_numparse=True, colalign=aligned)
    return text.translate(str.maketrans(signs))


def markdown(tables: Sequence[Table]) -> str:
    """GitHub Markdown."""
    return "\n".join(f"{table.caption}\n\n{_cells(table, 'md')}\n" for table in tables)


def latex(tables: Sequence[Table]) -> str:
    """LaTeX table floats (packages array and booktabs), to be put into a document with input."""
    return "% needs \\usepackage{array,booktabs}\n" + "\n".join(_float(table) for table in tables)


def _float(table: Table) -> str:
    # prose columns share what the others leave; a character takes about a hundredth of a line
    others = [c for c in range(len(table.header)) if c not in table.prose]
    taken = sum(max(len(row[c]) for row in (table.header, *table.rows)) for c in others)
    share = min(0.33, max(0.4, 0.96 - 0.01 * taken) / max(1, len(table.prose)))
    prose = rf">{{\raggedright\arraybackslash}}p{{{share:.2f}\linewidth}}"
    columns = "".join(
        prose if c in table.prose else ("l" if c in table.left else "r")
        for c in range(len(table.header))
    )
    lines = _cells(table, "tex").splitlines()
    lines[0] = rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}"
    for r in range(len(table.rows) - 1, 0, -1):
        if table.titled and table.rows[r][0]:
            lines.insert(4 + r, r"\addlinespace")  # behind begin, top rule, header and mid rule
    one_line = " ".join(table.caption.split())
    escaped = _cells(Table("", "", (one_line,), ()), "tex").split("\n")[2]
    caption = escaped.removesuffix(r"\\").strip()
    label = re.sub(r"[^A-Za-z0-9_-]", "-", table.label)
    return "\n".join([
        r"\begin{table}[htbp]", r"\centering", rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}", r"\vspace{4pt}", r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}", *lines, r"\end{table}", "",
    ])  # fmt: skip


def html_table(table: Table) -> str:
    """Render the table alone, as an HTML fragment."""
    # a caption element would be no wider than its table
    caption = f'<p class="caption">{html.escape(table.caption)}</p>\n' if table.caption else ""
    return f'{caption}<div class="scroll">{_cells(table, "html")}</div>'


def html_page(title: str, body: str) -> str:
    """Make a page that stands alone: style inside, nothing loaded from elsewhere."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
