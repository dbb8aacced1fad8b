"""Which kernels are compiled, their limits, and how their blocks are written; needs no Triton."""

import ast
from collections.abc import Mapping
from typing import Any

from small_runs import ROOT

from cseg.storage.files import fingerprint

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


def source() -> str:
    """A fingerprint of the code of all kernels, without docstrings and sizes of blocks."""
    kernels = {}
    for path in sorted((ROOT / "cseg" / "losses").glob("triton_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and "triton.jit" in map(
                ast.unparse, node.decorator_list
            ):
                if ast.get_docstring(node) is not None:
                    del node.body[0]
                kernels[node.name] = ast.unparse(node)
    return fingerprint(kernels)[:12]
