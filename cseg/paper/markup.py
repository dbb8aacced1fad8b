"""A table as plain data, and the same table as Markdown, LaTeX and HTML.

Cells are written once, with Unicode signs (±, −, ×, –); each format escapes them its own way.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "–": "--",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "<": r"$<$",
    ">": r"$>$",
    "→": r"$\rightarrow$",
    "*": r"$^{*}$",
}

STYLE = """
body{font:15px/1.5 system-ui,"DejaVu Sans",sans-serif;color:#222;max-width:70em;margin:2em auto;
padding:0 1em}
table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums}
th,td{padding:.25em .8em;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.text{text-align:left!important;white-space:normal}
thead tr{border-top:2px solid #222;border-bottom:1px solid #222}
tbody:last-child{border-bottom:2px solid #222}
tr.section td{text-align:left;font-style:italic;border-top:1px solid #999;padding-top:.5em}
.caption,figcaption{color:#444;max-width:60em;margin:.5em 0}
figure{margin:1em 0}
img{max-width:100%}
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:1.6em}
.scroll{overflow-x:auto}
"""


@dataclass(frozen=True)
class Section:
    """Rows under one heading; each row is a tuple of cell texts."""

    title: str
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = field(default_factory=frozenset)  # (row, column)


@dataclass(frozen=True)
class Table:
    """A captioned table: `label` names it in LaTeX; `text_columns` are left-aligned prose."""

    label: str
    caption: str
    header: tuple[str, ...]
    sections: tuple[Section, ...]
    text_columns: frozenset[int] = field(default_factory=frozenset)


def markdown(tables: Sequence[Table]) -> str:
    """GitHub Markdown; section titles are rows of their own."""
    return "\n".join(_markdown_table(table) for table in tables)


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    width = len(table.header)
    rules = ["---" if i == 0 or i in table.text_columns else "---:" for i in range(width)]
    lines = [table.caption.replace("*", r"\*"), "", line(table.header), line(rules)]
    for section in table.sections:
        if section.title:
            lines.append(line([f"*{section.title}*", *[""] * (width - 1)]))
        for r, row in enumerate(section.rows):
            cells = [cell.replace("*", r"\*") for cell in row]
            lines.append(line([f"**{c}**" if (r, i) in section.bold else c
                               for i, c in enumerate(cells)]))  # fmt: skip
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Escape a cell or caption for LaTeX."""
    return "".join(LATEX_SIGNS.get(letter, letter) for letter in text)


def latex(tables: Sequence[Table]) -> str:
    """LaTeX table floats with booktabs rules, to be put into a document with input."""
    head = "% needs \\usepackage{booktabs}\n"
    return head + "\n".join(_latex_table(table) for table in tables)


def _latex_table(table: Table) -> str:
    width = len(table.header)
    # prose columns share what numbers leave
    share = 0.66 / max(2, len(table.text_columns)) if table.text_columns else 0
    prose = rf"p{{{share:.2f}\linewidth}}"
    columns = "".join(
        prose if i in table.text_columns else ("l" if i == 0 else "r") for i in range(width)
    )
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\label{{tab:{table.label}}}",
        r"\vspace{4pt}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        " & ".join(map(latex_text, table.header)) + r" \\",
    ]
    for section in table.sections:
        lines.append(r"\midrule")
        if section.title:
            lines.append(
                rf"\multicolumn{{{width}}}{{@{{}}l}}{{\emph{{{latex_text(section.title)}}}}} \\"
            )
        for r, row in enumerate(section.rows):
            cells = [latex_text(cell) for cell in row]
            cells = [rf"\textbf{{{c}}}" if (r, i) in section.bold else c
                     for i, c in enumerate(cells)]  # fmt: skip
            lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def html_table(table: Table) -> str:
    """Render the table alone, as an HTML fragment."""
    text_class = ' class="text"'

    def cell(text: str, column: int, bold: bool) -> str:
        inner = html.escape(text)
        kind = text_class if column in table.text_columns else ""
        return f"<td{kind}>{'<b>' + inner + '</b>' if bold else inner}</td>"

    # a caption element would be no wider than its table
    lines = [f'<p class="caption">{html.escape(table.caption)}</p>', '<div class="scroll"><table>']
    names = enumerate(table.header)
    heads = [
        f"<th{text_class if i in table.text_columns else ''}>{html.escape(h)}</th>"
        for i, h in names
    ]
    lines.append("<thead><tr>" + "".join(heads))
    lines.append("</tr></thead>")
    for section in table.sections:
        lines.append("<tbody>")
        if section.title:
            title = html.escape(section.title)
            lines.append(f'<tr class="section"><td colspan="{len(table.header)}">{title}</td></tr>')
        for r, row in enumerate(section.rows):
            cells = "".join(cell(c, i, (r, i) in section.bold) for i, c in enumerate(row))
            lines.append(f"<tr>{cells}</tr>")
        lines.append("</tbody>")
    return "\n".join([*lines, "</table></div>"])


def html_page(title: str, body: str) -> str:
    """Make a page that stands alone: style inside, nothing loaded from elsewhere."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
