"""Draw the rules of the workflow and what they hand on, and list them for the figure of a run.

docs/img/dag.svg and workflow/resources/dag.csv:

python docs/draw_dag.py [snakemake arguments]     needs no graphviz
"""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

from cseg.paper.figure_dag import dag
from cseg.paper.style import figure_style, plt
from cseg.storage.files import atomic, write_text

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "img" / "dag.svg"
CSV = ROOT / "workflow" / "resources" / "dag.csv"


def rule_graph(arguments: list[str]) -> dict[str, set[str]]:
    """The rules that each rule waits for, without those that follow from others."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "dot", *arguments]
    text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return reduced(parsed(text))


def parsed(dot: str) -> dict[str, set[str]]:
    """Rules and the rules they wait for, from Snakemake's dot text."""
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', dot))
    graph: dict[str, set[str]] = {name: set() for name in names.values()}
    for before, after in re.findall(r"(\d+) -> (\d+)", dot):
        graph[names[after]].add(names[before])
    return graph


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without edges that a longer path implies."""

    def above(name: str) -> set[str]:
        return set().union(*({each} | above(each) for each in graph[name]))

    return {
        name: before - set().union(*(above(each) for each in before))
        for name, before in graph.items()
    }


def described(graph: dict[str, set[str]]) -> str:
    """The graph in words; it stands in the picture too."""
    return "; ".join(f"{name} after {', '.join(sorted(graph[name])) or 'nothing'}"
                     for name in sorted(graph))  # fmt: skip


def draw(graph: dict[str, set[str]], out: Path) -> None:
    """Write the picture; text stays text, and the same graph gives the same bytes."""
    with figure_style(), plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dag"}):
        figure = dag(graph)
        with atomic(out) as temporary:
            figure.savefig(
                temporary, format="svg", metadata={"Date": None, "Description": described(graph)}
            )
        plt.close(figure)


def listed(graph: dict[str, set[str]]) -> str:
    """The graph as the CSV that the figure of a run is drawn from."""
    rows = [(name, before) for name in sorted(graph) for before in sorted(graph[name]) or [""]]
    return pd.DataFrame(rows, columns=["rule", "after"]).to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    drawn = rule_graph(sys.argv[1:])
    draw(drawn, OUT)
    write_text(CSV, listed(drawn))
