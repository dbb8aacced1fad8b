"""Which kernels are compiled, their limits, and how their blocks are written; needs no Triton."""

from collections.abc import Mapping
from typing import Any

SHARED_KIB = {86: 99, 80: 163, 90: 227, 100: 227, 89: 99}  # that a program of a card can have
DTYPES, WIDTHS = ("float32", "bfloat16"), (256, 64, 128, 512, 32)  # in the order of compiling
MULTIPLY = {"walk", "value", "gradient"}
BLOCKS = ("OWN_ROWS", "TILE", "STEP", "OUT_D", "num_warps", "num_stages")
MOST_SPILLED = 64  # bytes per thread


def wrong(row: Mapping[str, Any]) -> str:
    """What is wrong with a compiled kernel; nothing if it fits, does not spill and multiplies."""
    if row["shared"] > SHARED_KIB[row["card"]] * 1024:
        return f"takes {row['shared']} bytes of shared memory"
    if row["spilled"] > MOST_SPILLED:
        return f"spills {row['spilled']} bytes"
    if row["kernel"] in MULTIPLY and not row["tensor_core_ops"]:
        return "uses no tensor cores"
    return ""


def sizes(options: Mapping[str, Any]) -> str:
    """The blocks among the options of a launch: own_rows=64 tile=32 and so on."""
    return " ".join(f"{name.lower()}={options[name]}" for name in BLOCKS if name in options)
