"""Measure everything that needs a GPU, within a time; a second call goes on where this one stopped.

    make gpu, or: PYTHONPATH=. python benchmarks/gpu.py [--minutes 9] [--out gpu] [--data FOLDER]

Each part runs in a process of its own and writes OUT/PART.json at once. OUT/report.md holds the
figures next to their targets; docs/speed.md says more. With --device cpu --tiny every part runs at
a toy size anywhere: those figures are none of a GPU, and say so.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gpu_evidence
import gpu_page
import gpu_parts
import torch

from cseg.storage.files import fingerprint, read_json, sha256_file, write_json, write_text
from cseg.storage.provenance import git_revision

START_SECONDS = 15  # of a process
EVIDENCE_SECONDS = 60  # below which it is not begun
SAVING_SECONDS = 15  # for a training that is asked to end


def facts(args: argparse.Namespace) -> dict[str, Any]:
    """Code, card and size that a figure belongs to."""
    usual = gpu_evidence.facts_of(args.device, args.tiny)
    measuring = map(sha256_file, sorted(Path(__file__).parent.glob("*.py")))
    source = fingerprint([usual["source"], *measuring])
    return {**usual, "source": source, "revision": args.revision}


def is_done(path: Path, current: dict[str, Any]) -> bool:
    """Whether a part was measured with this code, on this card, at this size."""
    if not path.exists():
        return False
    found = read_json(path)["facts"]
    return all(found.get(name) == current[name] for name in ("source", "device", "tiny", "torch"))


def failure(name: str, args: argparse.Namespace, script: str, *more: str, seconds: float) -> str:
    """Run a script of this folder for at most so many seconds; says what went wrong, if anything.

    What it prints goes to a log. When the time is over it is asked to end, and ended if it does
    not.
    """
    script = str(Path(__file__).with_name(script))
    command = [sys.executable, script, "--out", str(args.out), "--device", args.device,
               *(["--tiny"] if args.tiny else []), *more]  # fmt: skip
    log = args.out / f"{name}.log"
    with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as job:
        try:
            return f"failed, see {log}" if job.wait(seconds) else ""
        except subprocess.TimeoutExpired:
            job.terminate()  # a training saves its state then
        try:
            job.wait(SAVING_SECONDS)
        except subprocess.TimeoutExpired:
            job.kill()
    return f"stopped when the time was over, see {log}; the same command goes on"


def run_parts(
    chosen: Sequence[gpu_parts.Part], args: argparse.Namespace, current: dict[str, Any], ends: float
) -> list[str]:
    """Run what is missing; returns sentences on what was not measured."""
    missing = []
    for part in chosen:
        if is_done(args.out / f"{part.name}.json", current):
            print(f"{part.name}: there already", flush=True)
            continue
        left = ends - time.monotonic()
        if left < START_SECONDS + (0 if args.tiny else part.seconds):
            whole = 60 * args.minutes
            missing.append(f"{part.name}: not begun, {left:.0f} s were left of {whole:.0f} s")
            continue
        own = ("--part", part.name, "--revision", args.revision)
        reason = failure(part.name, args, "gpu.py", *own, seconds=left)
        missing += [f"{part.name}: {reason}"] if reason else []
        print(f"{part.name}: {reason or 'measured'}", flush=True)
    return missing


def run_evidence(args: argparse.Namespace, seconds: float) -> list[str]:
    """Train on real images until the time is over; returns a sentence if that was not all."""
    if args.data is None:
        return ["evidence: not begun, --data names no folder of images"]
    if seconds < EVIDENCE_SECONDS:
        return [f"evidence: not begun, {seconds:.0f} s were left"]
    more = ["--data", str(args.data)]
    more += ["--config", *map(str, args.config)] if args.config else []
    more += ["--weights", str(args.weights)] if args.weights else []
    seconds -= SAVING_SECONDS
    reason = failure("evidence", args, "gpu_evidence.py", *more, seconds=seconds)
    return [f"evidence: {reason}"] if reason else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, for a test")
    parts = {part.name: part for part in gpu_parts.PARTS}
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts), help="no others")
    parser.add_argument("--part", choices=parts, help="measure it in this process")
    parser.add_argument("--needs", action="store_true", help="list the packages, and their sizes")
    parser.add_argument("--revision", default=git_revision(), help="name it where this is a copy")
    parser.add_argument("--data", type=Path, help="folder of real images to train on at the end")
    parser.add_argument("--config", type=Path, nargs="+", help="what the images are")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of a ResNet-50")
    args = parser.parse_args()
    if args.needs:
        print(gpu_page.needs())
        return
    current, started = facts(args), time.monotonic()
    paths = {name: args.out / f"{name}.json" for name in parts}
    if args.part:
        rows = parts[args.part].measure(torch.device(args.device), args.tiny)
        seconds = round(time.monotonic() - started, 1)
        write_json(paths[args.part], {"facts": current, "seconds": seconds, "rows": rows})
        return
    args.out.mkdir(parents=True, exist_ok=True)
    ends = started + 60 * args.minutes
    missing = run_parts([parts[name] for name in parts if name in args.only], args, current, ends)
    missing += run_evidence(args, ends - time.monotonic())
    results = {name: read_json(path) for name, path in paths.items() if is_done(path, current)}
    evidence = gpu_evidence.measured(args.out, gpu_evidence.facts_of(args.device, args.tiny))
    if evidence:
        results["evidence"] = {"rows": evidence}
    report = gpu_page.page(results, [*paths, "evidence"], missing, current)
    write_text(args.out / "report.md", report)
    print(report)


if __name__ == "__main__":
    main()
