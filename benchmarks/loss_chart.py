"""The picture of benchmarks/loss.py."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def plot(rows: list[dict], pixels: int, ours: str, path: Path) -> None:
    """Bars of time and memory per row; lines over pixels where several sizes were run.

    Rows whose names start with `ours` are coloured.
    """
    sizes = sorted({r["pixels"] for r in rows})
    base = [r for r in rows if r["pixels"] == pixels]
    figure, axes = pyplot.subplots(2, 2, figsize=(12, 8), layout="constrained")
    for ax, key, title in [
        (axes[0, 0], "median_ms", f"time at {pixels} pixels (ms)"),
        (axes[0, 1], "extra_mib", f"memory at {pixels} pixels (MiB)"),
    ]:
        colors = ["tab:blue" if r["row"].startswith(ours) else "tab:gray" for r in base]
        ax.barh([r["row"] for r in base][::-1], [r[key] for r in base][::-1], color=colors[::-1])
        ax.set(xscale="log", title=title, xlim=(min(r[key] for r in base) / 4, None))
    for ax, key, label, power in [
        (axes[1, 0], "median_ms", "ms", 2),
        (axes[1, 1], "extra_mib", "MiB above inputs", 1),
    ]:
        for name in dict.fromkeys(r["row"] for r in rows if r["row"].startswith(ours)):
            line = [(r["pixels"], r[key]) for r in rows if r["row"] == name]
            ax.plot(*zip(*line), marker="o", label=name)
            if len(line) > 1:
                x, y = zip(*line)
                ax.plot(x, [y[-1] * (v / x[-1]) ** power for v in x], ":", color="gray")
        word = {1: "linear", 2: "quadratic"}[power]
        ax.set(xscale="log", yscale="log", xlabel="pixels", ylabel=label, title=f"dotted: {word}")
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.set_xticks([], minor=True)
    axes[1, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
