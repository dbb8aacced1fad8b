"""Draw the rules of the workflow and what they hand on: docs/img/dag.svg.

python docs/draw_dag.py [snakemake arguments]     needs no graphviz
"""

import re
import subprocess
import sys
from pathlib import Path

from matplotlib.patches import FancyBboxPatch

from cseg.files import atomic
from cseg.paper.style import BLUE, GREEN, GREY, ORANGE, figure_style, plt

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "img" / "dag.svg"
COLOURS = {"data": GREY, "training": BLUE, "measuring": ORANGE, "paper": GREEN}
KINDS = {
    **dict.fromkeys(("fetch", "index", "subset", "prepare", "audit"), "data"),
    **dict.fromkeys(("pretrain", "finetune", "pseudolabel"), "training"),
    **dict.fromkeys(("evaluate", "features", "summary"), "measuring"),
}
WIDTH, HEIGHT = 0.72, 0.42  # of a box, in units of a layer


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


def places(graph: dict[str, set[str]]) -> dict[str, tuple[float, float]]:
    """Where each rule stands: x just before what waits for it, y near the rules it waits for."""
    layers: dict[str, int] = {}
    while len(layers) < len(graph):
        for name, before in graph.items():
            if name not in layers and before <= layers.keys():
                layers[name] = max((layers[each] + 1 for each in before), default=0)
    after = {name: [n for n, before in graph.items() if name in before] for name in graph}
    for name in sorted(layers, key=layers.__getitem__, reverse=True):
        layers[name] = min((layers[n] - 1 for n in after[name]), default=layers[name])
    found: dict[str, tuple[float, float]] = {}
    for x in range(max(layers.values()) + 1):
        here = [name for name, layer in layers.items() if layer == x]
        level = {n: _mean([found[b][1] for b in graph[n]]) for n in here}
        here.sort(key=lambda name: (level[name], name))
        middle = _mean(list(level.values()))
        for i, name in enumerate(here):
            found[name] = (x, middle + (i - (len(here) - 1) / 2))
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def described(graph: dict[str, set[str]]) -> str:
    """The graph in words; it stands in the picture too."""
    return "; ".join(f"{name} after {', '.join(sorted(graph[name])) or 'nothing'}"
                     for name in sorted(graph))  # fmt: skip


def draw(graph: dict[str, set[str]], out: Path) -> None:
    """Write the picture; text stays text, and the same graph gives the same bytes."""
    where = places(graph)
    with figure_style(), plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dag"}):
        figure, axes = plt.subplots(figsize=(9.4, 2.1))
        for name, before in graph.items():
            for each in sorted(before):
                (x0, y0), (x1, y1) = where[each], where[name]
                if x1 - x0 > 1:  # into the lane of its end first, past the rules between
                    corner = x0 + 1 - WIDTH / 2
                    axes.plot([x0 + WIDTH / 2, corner], [y0, y1], color="#666666", lw=1)
                    x0, y0 = corner - WIDTH / 2, y1
                axes.annotate("", (x1 - WIDTH / 2, y1), (x0 + WIDTH / 2, y0),
                              arrowprops={"arrowstyle": "-|>", "color": "#666666", "lw": 1,
                                          "shrinkA": 0, "shrinkB": 0})  # fmt: skip
        for name, (x, y) in where.items():
            colour = COLOURS[KINDS.get(name, "paper")]
            axes.add_patch(FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, linewidth=1.4, edgecolor=colour,
                facecolor=f"{colour}22", boxstyle="round,pad=0,rounding_size=0.08",
            ))  # fmt: skip
            axes.text(x, y, name, ha="center", va="center", fontsize=9)
        heights = [y for _, y in where.values()]
        axes.set_xlim(-0.5, max(x for x, _ in where.values()) + 0.5)
        axes.set_ylim(max(heights) + 0.5, min(heights) - 0.5)
        axes.axis("off")
        for kind, colour in COLOURS.items():
            axes.plot([], [], "s", color=colour, label=kind, ms=7)
        figure.legend(loc="outside lower center", ncols=len(COLOURS))
        with atomic(out) as temporary:
            figure.savefig(
                temporary, format="svg", metadata={"Date": None, "Description": described(graph)}
            )
        plt.close(figure)


if __name__ == "__main__":
    draw(rule_graph(sys.argv[1:]), OUT)
