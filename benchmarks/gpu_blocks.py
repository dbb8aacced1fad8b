"""Time sizes of blocks of the loss's kernels on this card, and print the fastest of each form.

    PYTHONPATH=. python benchmarks/gpu_blocks.py [--minutes 3] [--dtype bf16] [--out FILE.csv]

Each candidate is compiled by one of several processes, which share Triton's cache, then timed
alone: value and gradients under the scope "within", at 16 images of 4,225 pixels with 256
channels. A candidate that does not fit the card is kept as such. Rows are written one by one, and a
second call goes on. Before the fastest goes into the tables of `cseg.losses.triton_blocks`,
`tests/kernel_grid.py` must say that it spills nothing. With --tiny and TRITON_INTERPRET=1 it runs
anywhere, which measures nothing.
"""

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import astuple, fields
from pathlib import Path
from statistics import median

import loss_gpu
import pandas as pd
import torch

from cseg.losses import triton_blocks, triton_paper, triton_released
from cseg.losses.scopes import candidate_bags, pixel_bags
from cseg.losses.triton_blocks import Blocks

FORMS = ("all", "negatives")
SIZES = [(128, 64, 8, 3), (128, 64, 8, 2), (128, 128, 8, 2), (128, 32, 8, 3), (128, 32, 8, 2),
         (64, 64, 4, 2), (64, 64, 4, 3), (64, 128, 4, 2), (64, 32, 4, 3), (128, 16, 8, 3),
         (64, 128, 8, 2)]  # fmt: skip
CANDIDATES = [Blocks(own, others, 0, 0, warps, stages) for own, others, warps, stages in SIZES]
NAMES = [field.name for field in fields(Blocks)]


def milliseconds(
    blocks: Blocks, form: str, dtype: str, device: str, tiny: bool, runs: int
) -> float:
    """Median time of value and gradients with these blocks; NaN if they do not fit the card."""
    for table in (triton_blocks.HALF_BLOCKS, triton_blocks.SPLIT_BLOCKS):
        for card in table:
            table[card] = {512: blocks}
    sizes = (1, 70, 16) if tiny else (16, 4225, 256)
    kind = loss_gpu.DTYPES[dtype]
    feats, other, labels = loss_gpu.inputs(*sizes, torch.device(device), kind)
    first, second = (feats.detach(), labels), (other.detach(), labels)

    def both() -> None:
        if form == "all":
            bags = candidate_bags([first, second], "within", None, 255)
            triton_paper.candidate_grads(bags, 0.07, 255, (True, True))
        else:
            (bag,) = pixel_bags([first], "within", None)
            triton_released.pixel_grads(bag, 0.07, 255, True)

    try:
        times = [1000 * loss_gpu.seconds(both, feats.device) for _ in range(runs)]
    except Exception as error:  # Triton's OutOfResources moves between its versions
        print(f"{blocks} {form}: {type(error).__name__} {error}", flush=True)
        return float("nan")
    return median(times[len(times) // 2 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--dtype", choices=list(loss_gpu.DTYPES), default="bf16")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, for a test")
    args = parser.parse_args()
    out = args.out or Path(f"blocks_{args.dtype}.csv")
    ends = time.monotonic() + 60 * args.minutes
    done = pd.read_csv(out)[["form", *NAMES]].to_numpy().tolist() if out.exists() else []
    cases = [(blocks, form) for blocks in CANDIDATES[: 1 if args.tiny else None] for form in FORMS]
    cases = [(blocks, form) for blocks, form in cases if [form, *astuple(blocks)] not in done]
    given = (args.dtype, args.device, args.tiny)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.processes, mp_context=spawn) as pool:
        compiling = [pool.submit(milliseconds, *case, *given, 1) for case in cases]
        wait(compiling, timeout=60 * args.minutes / 2)
        pool.shutdown(cancel_futures=True)
    for blocks, form in cases:
        if time.monotonic() > ends:
            print(f"{blocks} {form}: not begun, the time is over")
            continue
        found = milliseconds(blocks, form, *given, 2 if args.tiny else 20)
        row = {"form": form, **dict(zip(NAMES, astuple(blocks))), "ms": found}
        pd.DataFrame([row]).to_csv(out, mode="a", header=not out.exists(), index=False)
        print(row, flush=True)
    table = pd.read_csv(out).sort_values("ms")
    for form, rows in table.groupby("form"):
        best = rows.iloc[0]
        print(f"{form}: {best['ms']:.2f} ms, {Blocks(*(int(best[name]) for name in NAMES))}")


if __name__ == "__main__":
    main()
