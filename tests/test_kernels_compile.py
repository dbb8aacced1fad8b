"""The loss's kernels compile for GPUs that are not here, fit them, do not spill, use tensor cores.

They are compiled for the launches of a training step of 16 images of 65x65 pixels; nothing runs.
`tests/compiled_kernels.py` says how to take another version of Triton.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ROOT

SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227}  # that a program can have
MULTIPLY = {"walk", "value", "gradient"}
SPECIFICATION = importlib.util.find_spec("triton")
TOOL = SPECIFICATION and Path(SPECIFICATION.origin).parent / "backends/nvidia/bin/cuobjdump"
pytestmark = pytest.mark.skipif(
    not TOOL or not TOOL.exists(), reason="no triton here that brings cuobjdump"
)


def compiled(cards, dtypes, channels, scopes="within,cross", denominators="all,negatives"):
    """The rows of `tests/compiled_kernels.py`, from a process that does not interpret kernels."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "tests/compiled_kernels.py", cards, dtypes, channels, scopes,
         denominators],
        capture_output=True, text=True, cwd=ROOT, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(rows):
    for row in rows:
        assert row["shared"] <= SHARED_KIB[row["card"]] * 1024, row
        assert row["spilled"] <= 64, row
        assert row["kernel"] not in MULTIPLY or row["tensor_core_ops"] > 0, row


@pytest.mark.slow
def test_the_papers_form_on_an_h100():
    rows = compiled("90", "bfloat16", "64", "within", "all")
    check(rows)
    kinds = [(row["kernel"], row["constants"]) for row in rows]
    assert kinds == [("ranks", "ORDERED"), ("ranks", ""), ("class_sums", ""), ("walk", "SUM"),
                     ("walk", "")]  # fmt: skip


@pytest.mark.slow
def test_float32_takes_tensor_cores_on_a_small_card():
    rows = compiled("86", "float32", "32", "within", "negatives")
    check(rows)
    assert {"operands", "value", "gradient"} < {row["kernel"] for row in rows}


# All widths, cards and types take hours of two cores: CSEG_EVERY_KERNEL=1 asks for them.
EVERY = os.environ.get("CSEG_EVERY_KERNEL") == "1"
CASES = [(card, dtype) for card in SHARED_KIB for dtype in ("bfloat16", "float32")]


@pytest.mark.slow
@pytest.mark.parametrize(("card", "dtype"), CASES if EVERY else [(90, "bfloat16"), (80, "float32")])
def test_what_a_training_step_launches(card, dtype):
    widths = {32, 64, 128, 256, 512} if EVERY else {256}
    rows = compiled(str(card), dtype, ",".join(map(str, sorted(widths))))
    check(rows)
    assert {row["kernel"] for row in rows} >= MULTIPLY
    assert {row["channels"] for row in rows} >= widths
