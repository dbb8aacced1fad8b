"""One look for all figures: sizes, fonts, and a colour, marker and line for each arm.

Colours are seaborn's "colorblind" set, told apart under the common colour deficiencies; arms
differ in marker and line too, so that the figures survive a grey print.
"""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl

mpl.use("Agg")  # figures go to files; no display is needed

import matplotlib.pyplot as plt
import seaborn
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure

from cseg.settings.run import TEACHER_SUFFIX
from cseg.storage.files import atomic

BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, SKY = seaborn.color_palette(
    "colorblind", 10
).as_hex()
ARM_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BROWN, YELLOW, PINK)
MARKERS = "osD^vP*Xph8"
ROUNDS = ("-", "-.", ":")  # with the colours, 27 looks
NEUTRAL = {"scratch": "#333333", "imagenet": GREY}  # the starts that most experiments compare with
# arms of config.yaml and of the evidence, in the order of ARM_COLOURS
KNOWN = (
    "scratch_distorted", "within", "cross", "batch", "joint", "imagenet_cross", "cross_distorted",
    "imagenet_within", "imagenet_distorted",
)  # fmt: skip
INCH_WIDTH = 6.9  # two print columns
SETTINGS: dict[str, Any] = {
    "pdf.fonttype": 42,  # fonts embedded as TrueType, text stays text
    "ps.fonttype": 42,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,  # inches; text is wider in print than when laid out
    "figure.dpi": 100,
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class ArmStyle:
    """How one arm is drawn in every figure."""

    color: str
    marker: str
    linestyle: str


def arm_styles(arms: Sequence[str]) -> dict[str, ArmStyle]:
    """One style per arm, the same in every experiment.

    It depends on the arm's name alone: names in `KNOWN` have fixed colours, others take a look
    with a broken line by the hash of their name, and the next free one only if two of these arms in
    one experiment want the same.
    An arm with pseudo labels has its partner's colour and marker and a dashed line.
    """
    bases = {arm.removesuffix(TEACHER_SUFFIX) for arm in arms} - NEUTRAL.keys()
    places: dict[str, int] = {}
    looks = len(ARM_COLOURS) * len(ROUNDS)
    for base in sorted(bases, key=lambda base: (base not in KNOWN, base)):
        digest = int.from_bytes(hashlib.sha256(base.encode()).digest()[:4])
        others = len(KNOWN) + digest % (looks - len(KNOWN))
        place = KNOWN.index(base) if base in KNOWN else others
        turns = [(place + i) % looks for i in range(looks)]
        places[base] = next((turn for turn in turns if turn not in places.values()), place)
    styles = {}
    for arm in arms:
        base = arm.removesuffix(TEACHER_SUFFIX)
        place = places.get(base, 0)
        styles[arm] = ArmStyle(
            NEUTRAL.get(base) or ARM_COLOURS[place % len(ARM_COLOURS)],
            # neutral arms have the first two markers to themselves
            MARKERS[list(NEUTRAL).index(base) if base in NEUTRAL else 2 + place % 9],
            ROUNDS[place // len(ARM_COLOURS)] if arm == base else "--",
        )
    return styles


def figure_style() -> AbstractContextManager[None]:
    """Apply the look to figures made inside the block, whatever the user's matplotlibrc says."""
    return plt.style.context(cast(Any, ["default", SETTINGS]))


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.pdf and close the figure; same figure, same bytes."""
    # no dates in the files: two renderings of the same CSVs are the same bytes
    metadata = {".png": {"Software": None}, ".pdf": {"CreationDate": None, "Producer": None}}
    paths = []
    figure.draw_without_rendering()  # lays out once
    figure.set_layout_engine("none")
    for suffix, fields in metadata.items():
        path = stem.with_name(stem.name + suffix)
        with atomic(path) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=fields)
        paths.append(path)
    plt.close(figure)
    return paths


def legend_below(figure: Figure, handles: Sequence[Artist | Container] | Axes) -> None:
    """Put one legend for the figure under its panels, in rows of about equal length.

    `handles` are its entries, or the axes whose lines it names.
    """
    if isinstance(handles, Axes):
        handles = handles.get_legend_handles_labels()[0]
    if not handles:
        return
    longest = max(len(str(handle.get_label())) for handle in handles)
    entry = 0.55 + 0.075 * longest  # inches of a key, its gaps and its text at 8 points
    rows = -(-len(handles) // max(1, int(figure.get_figwidth() / entry)))
    columns = -(-len(handles) // rows)  # the last row is not left with a single entry
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)
