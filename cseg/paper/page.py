"""The page: which start, how sure, what next; then cautions, pictures, tables, provenance."""

import base64
import html
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from cseg.paper import wording
from cseg.paper.cautions import cautions
from cseg.paper.markup import Table, html_page, html_table
from cseg.paper.recommend import Recommendation, advice, certainty, more_labels, recommend, which
from cseg.paper.results import PROVENANCE, Results, read_results
from cseg.paper.table_main import main_table
from cseg.paper.wording import interval, listing, plural, points
from cseg.storage.files import read_json, write_text

NO_WARNING = "Nothing stands out: no check gave cause for a warning."
MANY = 4  # more distinct values than this are counted, not listed
PICTURES = {
    "label_efficiency": "Mean mIoU over seeds by number of labelled images; bands: ± one sample "
    "standard deviation. A line breaks where an arm has no run.",
    "qualitative": "Validation images, their truth and what each arm predicts with the fewest "
    "labels. The images are evenly spaced over the set, not picked by result.",
}


def summary_page(results_dir: Path, out_path: Path, *, figures_dir: Path) -> Path:
    """Write one HTML page that stands alone: pictures inside, nothing loaded from elsewhere.

    A figure that is absent in `figures_dir` is left out and named.
    """
    results = read_results(results_dir)
    found, warnings = recommend(results), cautions(results)
    _, (headline,) = main_table(results)
    pictures = {name: Path(figures_dir) / f"{name}.png" for name in PICTURES}
    absent = [name.replace("_", " ") for name, path in pictures.items() if not path.is_file()]
    parts = [
        f"<h1>{html.escape(results.dataset)}: which start to take</h1>",
        _answer(found, warnings),
        "<h2>By number of labels</h2>",
        *(_details(results, each) for each in found),
        "<h2>Before you trust the numbers</h2>",
        "<ul>",
        *(f"<li>{html.escape(each)}</li>" for each in warnings or [NO_WARNING]),
        "</ul>",
        "<h2>Pictures</h2>",
        *(_picture(results, name, path) for name, path in pictures.items() if path.is_file()),
        _paragraph(f"Not drawn: {listing(absent)}; the log says why." if absent else ""),
        "<h2>All arms</h2>",
        html_table(headline),
        "<h2>Setup and provenance</h2>",
        _paragraph(_setup(results)),
        html_table(_provenance(results)),
    ]
    page = html_page(f"cseg: {results.dataset}", "\n".join(part for part in parts if part))
    write_text(out_path, page)
    return Path(out_path)


def _answer(found: Sequence[Recommendation], warnings: Sequence[str]) -> str:
    """Three lines over all label counts: which start, how sure, what next."""
    starts = [
        f"{arm} with {listing([str(each.n) for each in group])} labels"
        for arm, group in groupby(found, key=lambda each: each.arm)
    ]
    states = [_lower(certainty(each).split(" between ")[0]) for each in found]  # arms: below
    sure = [f"With {each.n}: {state}{_lead(each)}." for each, state in zip(found, states)]
    steps = []
    if warnings:  # the gravest comes first; what it lists is below
        gravest = _lower(re.split(r" \(|[:,;.] ", warnings[0])[0])
        many = f"{len(warnings)} warnings below first, above all"
        steps = [f"Mind the {many if warnings[1:] else 'warning below first'}: {gravest}."]
    steps += [f"With {each.n}: {_lower(advice(each))}" for each in found if advice(each)][:1]
    steps += [more_labels(each) for each in found if each.gain][-1:]
    lines = {
        "Which start?": f"Take {listing(starts)}.",
        "How sure?": " ".join(sure),
        "What next?": " ".join(steps) or "Use the network below.",
    }
    rows = "\n".join(f"<p><b>{key}</b> {html.escape(text)}</p>" for key, text in lines.items())
    return f'<div class="answer">\n{rows}\n</div>'


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _lead(each: Recommendation) -> str:
    if not each.rivals:
        return ""
    rival, by = each.rivals[0]
    return f" ({points(by.difference)} points above {rival}, {interval(by)})"


def _details(results: Results, each: Recommendation) -> str:
    text = wording.join(which(each), f"{certainty(each)}.", advice(each), more_labels(each))
    head = f"<p><b>With {plural(each.n, 'label')}:</b> {html.escape(text)}</p>"
    return f"{head}\n{_network(results, each)}".strip()


def _network(results: Results, each: Recommendation) -> str:
    """Link the checkpoint of `best`, or that of the run, with the command that uses it."""
    cards = {path: read_json(path) for path in sorted(results.folder.glob("best/*.json"))}
    fitting = [path for path, card in cards.items()
               if (card["n"], card["arm"]) == (each.n, each.arm)]  # fmt: skip
    if not fitting:
        return ""
    card, weights = cards[fitting[0]], fitting[0].with_suffix(".pt")
    place = html.escape(weights.relative_to(results.folder).as_posix())
    command = html.escape(f"cseg predict IMAGES --checkpoint {weights} --out masks")
    note = (
        f"seed {card['seed']}, the best of {plural(card['seeds'], 'seed')} on the validation images"
        f" ({points(card['miou'])}); expect {points(card['miou_mean'])}"
    )
    return (
        f'<p>Network: <a href="{place}">{place}</a> ({html.escape(note)}). '
        f"To use it on images of yours: <code>{command}</code></p>"
    )


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>" if text else ""


def _setup(results: Results) -> str:
    seeds = listing([str(seed) for seed in sorted(results.summary["seed"].unique())])
    text = f"Arms: {listing(results.arms)}. Seeds: {seeds}."
    if results.info.get("val_size"):
        classes = len(results.class_names)
        text += f" {results.info['val_size']} validation images, {classes} classes."
    if "total_steps" in results.summary:
        steps = results.summary["total_steps"]
        ends = " to ".join(f"{each:,.0f}" for each in sorted({steps.min(), steps.max()}))
        text += f" {ends} steps, both stages together."
    return text


def _picture(results: Results, name: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    alt = html.escape(f"{results.dataset}: {name.replace('_', ' ')}")
    width = "640" if name == "label_efficiency" else "720"
    return (
        f'<figure><img width="{width}" alt="{alt}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(PICTURES[name])}</figcaption></figure>"
    )


def _provenance(results: Results) -> Table:
    rows = []
    for column in PROVENANCE:
        if values := results.values(column):
            shown = ", ".join(values) if len(values) <= MANY else f"{len(values)} different"
            rows.append((column.replace("_", " "), shown))
    for key in ("citation", "licence"):
        if results.info.get(key):
            rows.append((f"images: {key}", str(results.info[key])))
    caption = "From summary.csv and dataset.json; summary.csv has one row per run."
    label = f"{results.dataset}-provenance"
    return Table(label, caption, ("what", "value"), tuple(rows), prose=frozenset({1}))
