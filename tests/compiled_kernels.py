"""Compile the loss's kernels for GPUs that are not here; prints what each takes, as JSON lines.

    python tests/compiled_kernels.py CARD DTYPE CHANNELS SCOPE DENOMINATOR [...]

Cards are compute capabilities (90 for 9.0). The loss runs on meta tensors, which have shapes but no
values, every launch is recorded, and each kernel is compiled as Triton would for that launch. Needs
a process in which TRITON_INTERPRET is unset. CSEG_TRITON names a folder with another Triton
(`pip install --target FOLDER triton==3.6.0` is that of torch 2.11).
"""

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
if os.environ.get("CSEG_TRITON"):
    sys.path.insert(0, os.environ["CSEG_TRITON"])

import torch
import triton
from kernel_limits import sizes
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler.compiler import make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from cseg.losses import triton_blocks, triton_paper, triton_released
from cseg.losses.scopes import candidate_bags, pixel_bags

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
IMAGES, PIXELS = 16, 4225  # a batch of the paper on its grid of 65 x 65
FORMS = tuple(itertools.product(("within", "cross"), ("all", "negatives")))
TENSOR_CORE_OPS = r"\b(?:HGMMA|HMMA|UTC[A-Z]*MMA)\b"


@dataclasses.dataclass(frozen=True)
class Compiled:
    """One kernel for one card: bytes of shared memory, registers and bytes spilled per thread.

    Attributes `constants` and `blocks` are the compile-time flags that are set, and the sizes.
    """

    kernel: str
    card: int
    dtype: str
    channels: int
    constants: str
    blocks: str
    shared: int
    registers: int
    spilled: int
    tensor_core_ops: int


def launches(card: int, dtype: torch.dtype, channels: int, scope: str, denominator: str) -> dict:
    """What the loss starts for a batch: kind of launch -> (kernel, arguments, options)."""
    seen = {}

    def record(kernel, *arguments, grid, warmup, **options):
        plain = tuple(
            torch.empty(64, dtype=a.dtype) if isinstance(a, torch.Tensor) else a for a in arguments
        )
        # Triton compiles by types, and by whether an integer is 1 or divisible by 16.
        kinds = tuple(
            a.dtype if isinstance(a, torch.Tensor)
            else (a == 1, a % 16 == 0) if isinstance(a, int) else float
            for a in plain
        )  # fmt: skip
        seen[(kernel.__name__, kinds, tuple(options.items()))] = kernel, plain, options

    def feats():
        return torch.empty(IMAGES, PIXELS, channels, dtype=dtype, device="meta")

    real = JITFunction.run, triton_blocks.card_of
    JITFunction.run, triton_blocks.card_of = record, lambda _: card
    try:
        labels = torch.empty(IMAGES, PIXELS, dtype=torch.int64, device="meta")
        partner = torch.arange(IMAGES).roll(1) if scope == "cross" else None
        views = (feats(), labels), (feats(), labels)
        if denominator == "all":
            bags = candidate_bags(views, scope, partner, ignore_index=255)
            triton_paper.candidate_grads(bags, 0.07, 255, (True, True))
        else:
            for bag in pixel_bags(views, scope, partner):
                triton_released.pixel_grads(bag, 0.07, 255, True)
    finally:
        JITFunction.run, triton_blocks.card_of = real
    return seen


def compiled(kernel, arguments, options, card: int):
    """Compile as JITFunction.run would for this launch on this card."""
    target = GPUTarget("cuda", card, 32)
    backend = make_backend(target)
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    options = {**options, "debug": False}
    bound, specialization, rest = bind(*arguments, **options)
    parsed, signature, constants, attributes = kernel._pack_args(
        backend, options, bound, specialization, rest
    )
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=target, options=parsed.__dict__)


def measured(kernel, arguments, options, card: int, dtype: str) -> Compiled:
    """Compile, and read the machine code."""
    result = compiled(kernel, arguments, options, card)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(result.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run(
                [TOOLS / "cuobjdump", f"--dump-{what}", file.name],
                capture_output=True, text=True, check=True,
            ).stdout
            for what in ("resource-usage", "sass")
        )  # fmt: skip
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()
    return Compiled(
        *identity(kernel, options, card, dtype), result.metadata.shared, int(registers), int(stack),
        len(re.findall(TENSOR_CORE_OPS, code)),
    )  # fmt: skip


def identity(kernel, options, card: int, dtype: str) -> tuple[str, int, str, int, str, str]:
    """The first fields of Compiled, which are known before anything is compiled."""
    flags = [name for name, value in options.items() if value is True and name != "WIDE"]
    name = kernel.__name__.lstrip("_")
    return name, card, dtype, options.get("D", 0), " ".join(flags), sizes(options)


def all_launches(card: int, dtype: str, channels: int, forms=FORMS) -> list:
    """What trainings with these (scope, denominator) start, each kind once."""
    kinds = {}
    for scope, denominator in forms:
        kinds |= launches(card, getattr(torch, dtype), channels, scope, denominator)
    return list(kinds.values())


def rows(cards, dtypes, channels, forms) -> Iterator[Compiled]:
    """Compile all that these trainings launch, each kind once."""
    for card, dtype, width in itertools.product(cards, dtypes, channels):
        for launch in all_launches(card, dtype, width, forms):
            yield measured(*launch, card, dtype)


if __name__ == "__main__":
    lists = [argument.split(",") for argument in sys.argv[1:]]
    forms = list(itertools.product(lists[3], lists[4]))
    wanted = [int(c) for c in lists[0]], lists[1], [int(c) for c in lists[2]], forms
    for row in rows(*wanted):
        print(json.dumps({**dataclasses.asdict(row), "triton": triton.__version__}), flush=True)
