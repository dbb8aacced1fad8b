"""Feature space before fine-tuning: scatter of projected pixel features."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.pyplot import subplots

from cseg.paper.results import Results
from cseg.paper.style import ARM_COLOURS, INCH_WIDTH, MARKERS, legend_below

METHODS = {"pca": "PCA", "tsne": "t-SNE"}


def feature_space(results: Results) -> Figure | None:
    """Projected features of the same pixels: a row per method, a column per arm, smallest n.

    Projections are made per arm, so axes have no unit and are not shared.
    """
    rows = results.tables["features"]
    if rows.empty:
        return None
    n = rows["n"].min()
    rows = rows[rows["n"] == n]
    rows = rows[rows["seed"] == rows["seed"].min()]
    methods = [method for method in METHODS if (rows["method"] == method).any()]
    arms = [arm for arm in results.arms if (rows["arm"] == arm).any()]
    if not methods or not arms:
        return None
    width = min(2.1, INCH_WIDTH * 1.5 / len(arms))
    figure, panels = subplots(len(methods), len(arms), squeeze=False,
                              figsize=(max(3.5, width * len(arms)),
                                       width * len(methods) + 0.6))  # fmt: skip
    names = results.class_names
    for r, method in enumerate(methods):
        for c, arm in enumerate(arms):
            axes = panels[r, c]
            cell = rows[(rows["method"] == method) & (rows["arm"] == arm)]
            for class_id, points in cell.groupby("class_id"):
                colour, marker = class_style(int(class_id))
                axes.scatter(points["x"], points["y"], s=6, color=colour, marker=marker, lw=0,
                             alpha=0.75, rasterized=len(cell) > 3000)  # fmt: skip
            axes.set_xticks([])
            axes.set_yticks([])
            if r == 0:
                axes.set_title(arm)
        panels[r, 0].set_ylabel(f"{METHODS[method]}, n = {n}")
    classes = sorted(int(c) for c in rows["class_id"].unique() if 0 <= c < len(names))
    handles = [
        Line2D([], [], linestyle="", color=class_style(c)[0], marker=class_style(c)[1],
               label=names[c])
        for c in classes
    ]  # fmt: skip
    legend_below(figure, handles)
    return figure


def class_style(class_id: int) -> tuple[str, str]:
    """Colour and marker of a class: distinct pairs for up to ninety classes."""
    return ARM_COLOURS[class_id % len(ARM_COLOURS)], MARKERS[
        (class_id % len(ARM_COLOURS) + class_id // len(ARM_COLOURS)) % len(MARKERS)
    ]
