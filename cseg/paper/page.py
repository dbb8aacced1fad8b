"""The one-page summary: question, setup, headline, what held and what did not, provenance."""

import base64
import html
from pathlib import Path

import pandas as pd

from cseg.paper import captions
from cseg.paper.findings import Finding, findings
from cseg.paper.markup import Section, Table, html_page, html_table
from cseg.paper.published import COLUMNS
from cseg.paper.results import Results, read_results
from cseg.paper.table_main import main_table
from cseg.paper.wording import listing
from cseg.storage.files import write_text

PROVENANCE = (
    "cseg_version", "git_revision", "source_fingerprint", "index_fingerprint",
    "settings_fingerprint", "python_version", "torch_version", "torchvision_version", "device",
    "threads", "precision",
)  # fmt: skip
MANY = 4  # more distinct values than this are counted, not listed


def summary_page(
    results_dir: Path,
    out_path: Path,
    *,
    curve_png: Path | None = None,
    reference: str = "scratch",
    imagenet: str = "imagenet",
) -> Path:
    """Write one HTML page that stands alone: pictures inside, nothing loaded from elsewhere.

    Args:
        results_dir: `results/{dataset}`.
        out_path: the page.
        curve_png: the label-efficiency figure to embed; left out where None or absent.
        reference: the arm without pretraining.
        imagenet: the arm that starts from ImageNet weights.
    """
    results = read_results(results_dir)
    _, (headline,) = main_table(results, (reference, imagenet), pd.DataFrame(columns=COLUMNS))
    parts = [
        f"<h1>Does contrastive pretraining save labels on {html.escape(results.dataset)}?</h1>",
        f"<p>{html.escape(_question(reference))}</p>",
        "<h2>Setup</h2>",
        f"<p>{html.escape(_setup(results))}</p>",
        "<h2>Headline</h2>",
        html_table(headline),
        _picture(results, curve_png),
        "<h2>What held and what did not</h2>",
        html_table(_verdicts(results, findings(results, reference, imagenet))),
        "<h2>Provenance</h2>",
        html_table(_provenance(results)),
    ]
    page = html_page(f"cseg: {results.dataset}", "\n".join(part for part in parts if part))
    write_text(out_path, page)
    return Path(out_path)


def _question(reference: str) -> str:
    return (
        "A segmentation network is first pretrained with a pixel-wise, label-based contrastive "
        "loss on the same few labelled images, then fine-tuned with cross-entropy. Does it end "
        f"better than training without that first stage ({reference}), and does it come near to "
        "starting from ImageNet weights?"
    )


def _setup(results: Results) -> str:
    rows = results.summary
    counts = listing([str(n) for n in results.label_counts])
    seeds = listing([str(seed) for seed in sorted(rows["seed"].unique())])
    text = [
        f"Arms: {listing(results.arms)}. Labelled images: {counts}. Seeds: {seeds}.",
        captions.runs_note(results),
        captions.full_set_note(results),
    ]
    if results.info.get("val_size"):
        text.append(
            f"{results.info['val_size']} validation images, {len(results.class_names)} classes."
        )
    text.append(captions.settings_note(results))
    if "total_steps" in rows:
        steps = sorted({int(s) for s in rows["total_steps"].dropna()})
        if steps:
            shown = str(steps[0]) if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
            text.append(f"{shown} optimisation steps in all, both stages together.")
    return captions.join(*text)


def _picture(results: Results, curve_png: Path | None) -> str:
    if curve_png is None or not Path(curve_png).is_file():
        return ""
    data = base64.b64encode(Path(curve_png).read_bytes()).decode("ascii")
    caption = html.escape(
        "Mean mIoU over seeds by number of labelled images; bands: ± one sample standard "
        "deviation. A line breaks where an arm has no run."
    )
    name = html.escape(f"{results.dataset}: mIoU by label count and arm")
    return (
        f'<figure><img width="640" alt="{name}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _verdicts(results: Results, found: list[Finding]) -> Table:
    rows = tuple((each.expectation, each.verdict, each.evidence) for each in found)
    caption = (
        "A gain is “held” at p < 0.05, “open” where it may be chance, and “did not hold” where "
        "there is none. A match is “held” where the mean is not lower, and “open” where it is "
        "lower but may be so by chance. Rows without a test go by the sign."
    )
    header = ("expectation", "verdict", "evidence")
    table_label = f"{results.dataset}-findings"
    return Table(table_label, caption, header, (Section("", rows),), frozenset({0, 1, 2}))


def _provenance(results: Results) -> Table:
    rows = []
    for column in PROVENANCE:
        if column in results.summary:
            values = sorted(str(v) for v in results.summary[column].dropna().unique())
            if values:
                shown = ", ".join(values) if len(values) <= MANY else f"{len(values)} different"
                rows.append((column.replace("_", " "), shown))
    for key in ("citation", "licence"):
        if results.info.get(key):
            rows.append((f"images: {key}", str(results.info[key])))
    caption = "From summary.csv and dataset.json; one row per run stands in summary.csv."
    label = f"{results.dataset}-provenance"
    return Table(label, caption, ("what", "value"), (Section("", tuple(rows)),), frozenset({1}))
