"""The rules of the workflow and what they hand on, as a figure; needs no graphviz."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from cseg.errors import DataError
from cseg.paper.style import BLUE, GREEN, GREY, ORANGE, plt

COLOURS = {"data": GREY, "training": BLUE, "measuring": ORANGE, "paper": GREEN}
KINDS = {
    **dict.fromkeys(("fetch", "index", "subset", "prepare", "audit"), "data"),
    **dict.fromkeys(("pretrain", "finetune", "pseudolabel"), "training"),
    **dict.fromkeys(("evaluate", "features", "summary"), "measuring"),
}
WIDTH, HEIGHT = 0.72, 0.42  # of a box, in units of a layer


def read_graph(path: Path) -> dict[str, set[str]]:
    """The rules and those each waits for, from a CSV with columns rule, after (empty for none).

    Raises:
        DataError: the file is missing, malformed or holds a circle.
    """
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)[["rule", "after"]]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the rules in {path} cannot be read; make them anew: make dag") from error
    graph: dict[str, set[str]] = {name: set() for name in rows["rule"]}
    for name, before in rows.itertuples(index=False):
        graph[name] |= {before} - {""}
    return graph


def dag(graph: dict[str, set[str]]) -> Figure:
    """A box for each rule, in the order of the data flow, and an arrow for what it waits for."""
    where = places(graph)
    figure, axes = plt.subplots(figsize=(9.4, 2.1))
    for name, before in graph.items():
        for each in sorted(before):
            (x0, y0), (x1, y1) = where[each], where[name]
            if x1 - x0 > 1:  # into the lane of its end first, past the rules between
                corner = x0 + 1 - WIDTH / 2
                axes.plot([x0 + WIDTH / 2, corner], [y0, y1], color="#666666", lw=1)
                x0, y0 = corner - WIDTH / 2, y1
            arrow = {"arrowstyle": "-|>", "color": "#666666", "lw": 1, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (x1 - WIDTH / 2, y1), (x0 + WIDTH / 2, y0), arrowprops=arrow)
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
    return figure


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
