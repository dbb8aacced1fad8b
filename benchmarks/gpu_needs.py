"""What `benchmarks/gpu.py` needs of a machine: packages, why, and how much they take."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

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


def table() -> str:
    """The packages as Markdown: why, and the version and size that are installed here.

    Sizes are of a package's own files, without those of what it needs itself.
    """
    lines = ["| package | for | installed here | MB |", "| --- | --- | --- | ---: |"]
    for name, why in NEEDS.items():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            lines.append(f"| {name} | {why} | no | |")
            continue
        places = [Path(str(found.locate_file(file))) for file in found.files or ()]
        size = sum(place.stat().st_size for place in places if place.exists())
        lines.append(f"| {name} | {why} | {found.version} | {size / 1e6:.1f} |")
    return "\n".join(lines)
