"""Time and memory of the pixel contrastive loss beside what people use instead.

    python benchmarks/loss.py [--short] [--threads 1] [--pixels 4225] [--channels 256]

Every row runs in fresh processes, one in each of three rounds over all rows, so that a machine
whose speed drifts slows rivals alike: one run to warm up, then runs for the median and the spread
(forward + backward, one image), then one more whose peak resident memory above the inputs is
taken. Ratios are medians over rounds of those within a round.
Writes benchmarks/results/loss.{csv,md} (loss_short.* with --short).
"""

import argparse
import ctypes
import os
import re
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import rivals
import torch

from cseg.losses import pixel_contrast_loss
from cseg.storage.files import write_text
from cseg.storage.provenance import git_revision
from cseg.storage.tables import markdown, write_table

HERE = Path(__file__).parent
OURS = "ours (tiled), "


def _ours(scope, denominator):
    def loss(feats, labels, other=None):
        return pixel_contrast_loss(
            feats[None], labels[None], None if other is None else other[None], scope=scope,
            denominator=denominator, partner=torch.tensor([0]), backend="tiled",
        )  # fmt: skip

    return loss


def _compiled(loss):
    return lambda *views: torch.compile(loss)(*views)


# by name of the row: seconds one run may take at 4225 pixels, for choosing repeats; what computes
# it; whether that takes the distorted view
ROWS = {
    OURS + "released form, within": (0.2, _ours("within", "negatives"), False),
    "eager released form, within": (2.0, rivals.eager_released, False),
    "torch.compile of the released form, within": (1.0, _compiled(rivals.eager_released), False),
    OURS + "released form, cross": (0.5, _ours("cross", "negatives"), True),
    "eager released form, cross": (12.0, rivals.eager_released_cross, True),
    OURS + "paper's form, within": (0.3, _ours("within", "all"), True),
    "eager paper's form, within": (1.0, rivals.eager_paper, True),
    "torch.compile of the paper's form, within": (0.5, _compiled(rivals.eager_paper), True),
    "SupConLoss (pytorch-metric-learning)": (2.0, rivals.sup_con, True),
}
# (ours, rival, times faster, times less memory) as the project set out to reach
TARGETS = [
    ("released form, within", "eager released form, within", 8, 17),
    ("released form, cross", "eager released form, cross", 20, 50),
    ("released form, within", "torch.compile of the released form, within", 2.8, 2.3),
    ("paper's form, within", "SupConLoss (pytorch-metric-learning)", 4, 40),
    ("paper's form, within", "torch.compile of the paper's form, within", 1, 5),
]
FLOPS = {"released form, within": 3, "paper's form, within": 6}  # x pixels² x channels
SCALING = (4225, 8450, 16900, 33800)


def inputs(pixels: int, channels: int):
    """Two views' unit features (a distortion apart) and labels of rectangles, none ignored."""
    gen = torch.Generator().manual_seed(0)
    width = int(pixels**0.5)
    labels = torch.zeros(pixels // width + 1, width, dtype=torch.int64)
    for number in range(1, 14):
        top = int(torch.randint(0, labels.shape[0], (), generator=gen))
        left = int(torch.randint(0, width, (), generator=gen))
        labels[top : top + width // 2, left : left + width // 3] = number % 8
    labels = labels.flatten()[:pixels].clone()
    centres = torch.randn(8, channels, generator=gen)[labels]
    views = [centres + 2 * torch.randn(pixels, channels, generator=gen) for _ in range(2)]
    return *(torch.nn.functional.normalize(v, dim=1).requires_grad_() for v in views), labels


def step_of(name: str, feats, other, labels):
    """Return a function without arguments that computes the row's loss once."""
    _, loss, both = ROWS[name]
    return lambda: loss(feats, labels, *([other] if both else []))


def resident_mib(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def measure(name: str, pixels: int, channels: int, repeats: int, threads: int, warm: int) -> dict:
    """Take times, peak memory, loss and gradient norm of one row, in a process of its own."""
    torch.set_num_threads(threads)
    feats, other, labels = inputs(pixels, channels)

    def once(step) -> tuple[float, float, float]:
        feats.grad = other.grad = None
        start, busy = time.perf_counter(), time.process_time()
        loss = step()
        loss.backward()
        return time.perf_counter() - start, time.process_time() - busy, loss.item()

    step_of(name, *inputs(warm, channels))().backward()  # large runs warm up on a smaller bag
    step = step_of(name, feats, other, labels)
    timed = [once(step) for _ in range(repeats)]
    grad = feats.grad.norm().item()
    feats.grad = other.grad = None
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    once(step)
    peak = resident_mib("VmHWM") - before
    return {
        "row": name,
        "pixels": pixels,
        "channels": channels,
        "threads": threads,
        "times_ms": [1000 * t for t, _, _ in timed],
        "cpu_ms": statistics.median(1000 * busy for _, busy, _ in timed),
        "extra_mib": peak,
        "loss": timed[-1][2],
        "grad_norm": grad,
    }


def combined(rounds: list[dict]) -> dict:
    """A row of all rounds: medians, and the extremes of every run."""
    times = sorted(t for one in rounds for t in one["times_ms"])
    row = {k: v for k, v in rounds[0].items() if k != "times_ms"}
    return row | {
        "repeats": len(times),
        "median_ms": statistics.median(times),
        "min_ms": times[0],
        "max_ms": times[-1],
        "cpu_ms": statistics.median(one["cpu_ms"] for one in rounds),
        "extra_mib": statistics.median(one["extra_mib"] for one in rounds),
    }


def gemm_gflops(threads: int) -> float:
    """Rate of 512 x 512 x 256 float32 products, tiles of two 4608-row matrices: the roof."""
    torch.set_num_threads(threads)
    a, b = torch.randn(9, 512, 256), torch.randn(9, 256, 512)
    out = torch.empty(512, 512)
    times = []
    for _ in range(9):
        start = time.process_time()  # all threads' time, whatever else the machine does
        for i in range(9):
            for j in range(9):
                torch.mm(a[i], b[j], out=out)
        times.append((time.process_time() - start) / threads)
    return 81 * 2 * 512 * 512 * 256 / statistics.median(times) / 1e9


def report(
    rows: list[dict],
    rounds: list[dict[str, dict]],
    rates: list[float],
    pixels: int,
    threads: int,
    measured: str,
) -> str:
    """Tables in Markdown: the rows, the ratios to the rivals, the share of the floor."""
    channels, gflops = rows[0]["channels"], statistics.median(rates)

    def ratio(field: str, rival: str, ours: str) -> float:
        return statistics.median(one[rival][field] / one[OURS + ours][field] for one in rounds)

    lines = [
        f"P = {pixels}, D = {channels}, one image, forward + backward, float32, "
        f"{threads} thread(s) of {cpu_name()}; GEMM rate {gflops:.0f} GFLOP/s; "
        f"revision {measured}.",
        "",
        "`cpu ms` is the processor time of all the process's threads, median: with one thread the "
        "wall time of a machine that does nothing else. Ratios below are of it: the median over "
        f"{len(rounds)} rounds, in each of which every row ran in a process of its own.",
        "",
    ]
    table = [
        (r["row"], r["pixels"],
         f"{r['median_ms']:.0f} ({r['min_ms']:.0f} - {r['max_ms']:.0f}, {r['repeats']})",
         f"{r['cpu_ms']:.0f}", f"{r['extra_mib']:.0f}")
        for r in rows
    ]  # fmt: skip
    header = ("row", "pixels", "median ms (min - max, runs)", "cpu ms", "extra MiB")
    lines += [*markdown(header, table), ""]
    full = pixels == SCALING[0]  # the size that the targets are meant for
    ratios = [
        (rival, f"{ratio('cpu_ms', rival, ours):.1f}x", f">= {faster}x" if full else "",
         f"{ratio('extra_mib', rival, ours):.1f}x", f">= {leaner}x" if full else "")
        for ours, rival, faster, leaner in TARGETS
    ]  # fmt: skip
    for ours, products in FLOPS.items():
        work = products * pixels**2 * channels / 1e6
        share = threads * statistics.median(
            work / rate / one[OURS + ours]["cpu_ms"] for rate, one in zip(rates, rounds)
        )
        floor = f"floor of the GEMM rate, {ours}: {work / gflops:.0f} ms"
        ratios.append((floor, f"{share:.0%} of it", ">= 70 %" if full else "", "", ""))
    header = ("against", "its time / ours", "target", "its memory / ours", "target")
    return "\n".join([*lines, *markdown(header, ratios)]) + "\n"


def cpu_name() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return f"{found[1]} ({os.cpu_count()} cores)" if found else "an unknown CPU"


def called(device: torch.device) -> str:
    """What the device is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="P = 1024, fewer runs, no scaling")
    parser.add_argument("--pixels", type=int)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    measured = git_revision()  # before the results change the tree
    pixels = args.pixels or (1024 if args.short else 4225)
    threads = args.threads
    os.environ |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}  # of processes
    fresh = ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1)

    def run(name, size, repeats, warm):
        numbers = (size, args.channels, repeats, threads, warm)
        r = fresh.submit(measure, name, *numbers).result()
        print(f"{name} P={size}: {r['cpu_ms']:.0f} ms, {r['extra_mib']:.0f} MiB", flush=True)
        return r

    rates, rounds = [], []
    for _ in range(1 if args.short else 3):
        rates.append(fresh.submit(gemm_gflops, threads).result())
        repeats = {name: max(1, min(5, int(4 / row[0]))) for name, row in ROWS.items()}
        rounds.append({name: run(name, pixels, repeats[name], pixels) for name in ROWS})
    gflops = statistics.median(rates)
    rows = [combined([one[name] for one in rounds]) for name in ROWS]
    if not args.short:
        for name in [n for n in ROWS if n.startswith(OURS)]:
            for size in SCALING[1:]:
                rows.append(combined([run(name, size, 1 if size > 10000 else 3, 1024)]))
    out = HERE / "results" / ("loss_short" if args.short else "loss")
    table = pd.DataFrame([{"gemm_gflops": round(gflops, 1), **row} for row in rows])
    write_table(out.with_suffix(".csv"), table, float_format="%.6g")
    text = report(rows, rounds, rates, pixels, threads, measured)
    write_text(out.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
