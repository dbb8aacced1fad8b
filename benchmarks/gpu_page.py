"""The report of `benchmarks/gpu.py`: every figure, and those that have a target next to it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
OURS = "ours, paper's form, within"
UNKNOWN = "not measured on a GPU"
WITH_TARGETS = ("loss_bf16", "loss_fp32", "correctness", "step_pretrain_bf16", "strict")


def targets(results: Results) -> Iterator[tuple[str, float, str, bool]]:
    """What, the figure, the target and whether it is reached, of the parts that were measured.

    The targets are for an H100 at 16 images of 4,225 pixels with 256 channels, and for a ResNet-50
    at 513 x 513 pixels, batch 16.
    """
    for dtype, most in (("bf16", 2.0), ("fp32", 5.0)):
        rows = _by(results, f"loss_{dtype}", "row")
        if rows:
            ours, rival = rows[OURS], rows["eager released form, within"]
            released = rows["ours, released form, within"]
            batch = rows["ours, paper's form, batch"]
            yield _least_most(f"loss, {dtype}, ms", ours["median_ms"], most=most)
            faster = rival["median_ms"] / released["median_ms"]
            yield _least_most(f"eager release's time over ours, {dtype}", faster, least=8)
            leaner = rival["extra_mib"] / released["extra_mib"]
            yield _least_most(f"eager release's memory over ours, {dtype}", leaner, least=100)
            yield _least_most(f"one bag of the batch, {dtype}, ms", batch["median_ms"], most=40)
            if dtype == "bf16":
                share = ours["kernel_share"]
                yield _least_most("share of the bf16 matmul rate", share, least=0.5)
    for row in _rows(results, "correctness"):
        most = 5e-3 if row["dtype"] == "bf16" else 1e-5
        what = f"gradient error, {row['dtype']}, {row['scope']}, {row['denominator']}, "
        yield _least_most(f"{what}D {row['channels']}", row["gradient_error"], most=most)
    for row in _rows(results, "step_pretrain_bf16"):
        yield _least_most("plain loop's step over ours", row["faster"], least=3)
        yield _least_most("loss, share of the step", row["loss_ms"] / row["step_ms"], most=0.05)
        yield _least_most("loader wait, share of it", row["load_ms"] / row["step_ms"], most=0.05)
    for row in _rows(results, "strict"):
        yield "strict mode repeats every bit", float(row["same_bits"]), "1", row["same_bits"]


def _least_most(
    what: str, value: float, least: float | None = None, most: float | None = None
) -> tuple[str, float, str, bool]:
    if most is not None:
        return what, value, f"<= {most:g}", value <= most
    return what, value, f">= {least:g}", value >= (least or 0)


def _rows(results: Results, part: str) -> Sequence[Mapping[str, Any]]:
    return results[part]["rows"] if part in results else []


def _by(results: Results, part: str, key: str) -> dict[str, Mapping[str, Any]]:
    return {row[key]: row for row in _rows(results, part)}


def page(
    results: Results, parts: Sequence[str], missing: Sequence[str], facts: Mapping[str, Any]
) -> str:
    """The report of all `parts` as Markdown; those without a result are named as such."""
    lines = ["# Measured by `make gpu`", ""]
    where = f"{facts['device']}, torch {facts['torch']}, revision {facts['revision']}"
    lines += [f"{where}.", ""]
    if not facts["gpu"] or facts["tiny"]:
        lines += ["**Not measured on a GPU: toy sizes, which test this script.**", ""]
    lines += ["## Targets", "", "| what | measured | target | |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {what} | {value:.3g} | {target} | {'pass' if reached else '**fail**'} |"
        for what, value, target, reached in targets(results)
    ]
    lines += [f"| {name} | {UNKNOWN} | | |" for name in WITH_TARGETS if name not in results]
    lines += ["", *(f"- {sentence}" for sentence in missing)]
    for name in parts:
        found = results.get(name)
        if found is None:
            lines += ["", f"## {name}", "", f"{UNKNOWN[0].upper()}{UNKNOWN[1:]}."]
            continue
        spent = f", {found['seconds']:g} s" if "seconds" in found else ""
        columns = list(found["rows"][0])
        lines += ["", f"## {name}{spent}", "", f"| {' | '.join(columns)} |"]
        lines.append("| --- " * len(columns) + "|")
        lines += [
            f"| {' | '.join(_cell(row[column]) for column in columns)} |" for row in found["rows"]
        ]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
