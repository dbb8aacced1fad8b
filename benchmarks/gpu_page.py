"""The report of `benchmarks/gpu.py`: every figure, those with a target next to it, its packages."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from operator import eq, ge, le
from pathlib import Path
from typing import Any

from cseg.storage.tables import markdown

Results = Mapping[str, Mapping[str, Any]]
OURS = "ours, paper's form, within"
SAMPLED = "sampling 1,024 pixels (ContrastiveSeg's way)"
UNKNOWN = "not measured on a GPU"
WITH_TARGETS = ("loss_bf16", "loss_fp32", "correctness", "step_pretrain_bf16", "strict")
REACHED = {"<=": le, ">=": ge, "": eq}
NEEDS = {
    "torch": "everything; version 2.11 or newer, built for CUDA",
    "triton": "the loss's kernels; comes with torch on Linux",
    "torchvision": "the plain training loop that ours is measured next to",
    "timm": "the encoders",
    "numpy": "images and labels as arrays",
    "pandas": "curves, metrics and the index of images",
    "pillow": "reading and painting images",
    "pyyaml": "configs",
}


def targets(results: Results) -> Iterator[tuple[str, float, str, float]]:
    """What, the figure, how it compares with its target, and that, of the parts that were measured.

    The targets are for an H100 at 16 images of 4,225 pixels with 256 channels, and for a ResNet-50
    at 513 x 513 pixels, batch 16.
    """
    for dtype, most in (("bf16", 2.0), ("fp32", 5.0)):
        rows = {row["row"]: row for row in _rows(results, f"loss_{dtype}")}
        if rows:
            ours, rival = rows[OURS], rows["eager released form, within"]
            released = rows["ours, released form, within"]
            batch = rows["ours, paper's form, batch"]
            yield f"loss, {dtype}, ms", ours["median_ms"], "<=", most
            faster = rival["median_ms"] / released["median_ms"]
            yield f"eager release's time over ours, {dtype}", faster, ">=", 8
            leaner = rival["extra_mib"] / released["extra_mib"]
            yield f"eager release's memory over ours, {dtype}", leaner, ">=", 100
            sampled = rows[SAMPLED]["median_ms"] / ours["median_ms"]
            yield f"sampling's time over ours, {dtype}", sampled, ">=", 1
            yield f"one bag of the batch, {dtype}, ms", batch["median_ms"], "<=", 40
            yield f"one bag of the batch, {dtype}, MiB", batch["extra_mib"], "<=", 2048
            if dtype == "bf16":
                yield "share of the bf16 matmul rate", ours["kernel_share"], ">=", 0.5
    for row in _rows(results, "correctness"):
        most = 5e-3 if row["dtype"] == "bf16" else 1e-5
        what = f"gradient error, {row['dtype']}, {row['scope']}, {row['denominator']}, "
        yield f"{what}D {row['channels']}", row["gradient_error"], "<=", most
    for row in _rows(results, "step_pretrain_bf16"):
        yield "plain loop's step over ours", row["faster"], ">=", 3
        yield "loss, share of the step", row["loss_ms"] / row["step_ms"], "<=", 0.05
        yield "loader wait, share of it", row["load_ms"] / row["step_ms"], "<=", 0.05
    for row in _rows(results, "strict"):
        yield "strict mode repeats every bit", float(row["same_bits"]), "", 1


def _rows(results: Results, part: str) -> Sequence[Mapping[str, Any]]:
    return results[part]["rows"] if part in results else []


def page(
    results: Results, parts: Sequence[str], missing: Sequence[str], facts: Mapping[str, Any]
) -> str:
    """The report of all `parts` as Markdown; those without a result are named as such."""
    lines = ["# Measured by `make gpu`", ""]
    where = f"{facts['device']}, torch {facts['torch']}, revision {facts['revision']}"
    lines += [f"{where}.", ""]
    if not facts["gpu"] or facts["tiny"]:
        lines += ["**Not measured on a GPU: toy sizes, which test this script.**", ""]
    compared = [
        (what, f"{value:.3g}", f"{sign} {target:g}".strip(),
         "pass" if REACHED[sign](value, target) else "**fail**")
        for what, value, sign, target in targets(results)
    ]  # fmt: skip
    compared += [(name, UNKNOWN, "", "") for name in WITH_TARGETS if name not in results]
    lines += ["## Targets", "", *markdown(("what", "measured", "target", ""), compared)]
    lines += ["", *(f"- {sentence}" for sentence in missing)]
    for name in parts:
        found = results.get(name)
        if found is None:
            lines += ["", f"## {name}", "", f"{UNKNOWN[0].upper()}{UNKNOWN[1:]}."]
            continue
        spent = f", {found['seconds']:g} s" if "seconds" in found else ""
        header = list(found["rows"][0])
        cells = [[_cell(row[column]) for column in header] for row in found["rows"]]
        lines += ["", f"## {name}{spent}", "", *markdown(header, cells)]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def needs() -> str:
    """The packages that `benchmarks/gpu.py` needs: why, and what is installed here, with its size.

    Sizes are of a package's own files, without those of what it needs itself.
    """
    rows = []
    for name, why in NEEDS.items():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            rows.append((name, why, "no", ""))
            continue
        places = [Path(str(found.locate_file(file))) for file in found.files or ()]
        size = sum(place.stat().st_size for place in places if place.exists())
        rows.append((name, why, found.version, f"{size / 1e6:.1f}"))
    return "\n".join(markdown(("package", "for", "installed here", "MB"), rows, left=3))
