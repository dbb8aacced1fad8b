"""Made-up GPUs: a program nvidia-smi that lists them, in front of PATH."""

from pathlib import Path


def made_gpus(folder: Path, *lines: str) -> Path:
    """Write `nvidia-smi` to `folder`/bin, which says `lines` when asked with -L; returns bin."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir(parents=True, exist_ok=True)
    listing = "\n".join(lines)
    program.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] || exit 2\ncat <<'END'\n{listing}\nEND\n")
    program.chmod(0o755)
    return program.parent


def card(number: int) -> str:
    """The line of a whole GPU, whose name is GPU-{number}{number}."""
    return f"GPU {number}: NVIDIA H100 80GB HBM3 (UUID: GPU-{number}{number})"


def instance(number: int, name: str) -> str:
    """The line of a MIG instance of the GPU above it."""
    return f"  MIG 3g.40gb     Device  {number}: (UUID: MIG-{name})"
