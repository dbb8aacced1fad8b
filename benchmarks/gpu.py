"""Measure everything that needs a GPU, within a time; a second call goes on where this one stopped.

    make gpu, or: PYTHONPATH=. python benchmarks/gpu.py [--minutes 9] [--out gpu] [--data FOLDER]

Parts run in order of value, each in a process of its own, and each writes OUT/PART.json at once. A
part whose file is of this code and this card is not repeated; one that would not fit into the time
left is skipped and named. OUT/report.md holds the figures next to their targets. It needs no
network; --needs lists the packages that it needs. With --device cpu --tiny every part runs at a toy
size anywhere: those figures are none of a GPU, and say so. --only takes names of parts. If --data
names a folder of images, the time that is left goes to `benchmarks/gpu_evidence.py`, which says
what --config and --weights are.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gpu_evidence
import gpu_needs
import gpu_page
import gpu_parts
import torch
from loss import cpu_name, revision

from cseg.storage.files import atomic, fingerprint, read_json, sha256_file, write_json
from cseg.storage.provenance import source_fingerprint

START_SECONDS = 15  # of a process
EVIDENCE_SECONDS = 60  # below which it is not begun
SAVING_SECONDS = 15  # for a training that is asked to end


def facts(device: str, tiny: bool, commit: str) -> dict[str, Any]:
    """Code, card and size that a figure belongs to."""
    measuring = sorted(Path(__file__).parent.glob("*.py"))
    return {
        "source": fingerprint([source_fingerprint(), *map(sha256_file, measuring)]),
        "revision": commit,
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        "gpu": device == "cuda",
        "tiny": tiny,
        "torch": torch.__version__,
    }


def is_done(path: Path, current: dict[str, Any]) -> bool:
    """Whether a part was measured with this code, on this card, at this size."""
    if not path.exists():
        return False
    found = read_json(path)["facts"]
    return all(found.get(name) == current[name] for name in ("source", "device", "tiny", "torch"))


def run_parts(
    chosen: Sequence[gpu_parts.Part],
    out: Path,
    device: str,
    current: dict[str, Any],
    seconds: float,
) -> list[str]:
    """Run what is missing; returns sentences on what was not measured."""
    tiny, ends = current["tiny"], time.monotonic() + seconds
    missing = []
    for part in chosen:
        if is_done(out / f"{part.name}.json", current):
            print(f"{part.name}: there already", flush=True)
            continue
        left = ends - time.monotonic()
        if left < START_SECONDS + (0 if tiny else part.seconds):
            missing.append(f"{part.name}: not begun, {left:.0f} s were left of {seconds:.0f} s")
            continue
        command = [sys.executable, __file__, "--part", part.name, "--out", str(out),
                   "--device", device, "--revision", current["revision"],
                   *(["--tiny"] if tiny else [])]  # fmt: skip
        log = out / f"{part.name}.log"
        with log.open("w") as stream:
            try:
                done = subprocess.run(command, stdout=stream, stderr=stream, timeout=left)
                failure = f"failed, see {log}" if done.returncode else ""
            except subprocess.TimeoutExpired:
                failure = f"stopped when the time was over, see {log}"
        missing += [f"{part.name}: {failure}"] if failure else []
        print(f"{part.name}: {failure or 'measured'}", flush=True)
    return missing


def run_evidence(args: argparse.Namespace, seconds: float) -> list[str]:
    """Train on real images until the time is over; returns a sentence if that was not all."""
    if args.data is None:
        return ["evidence: not begun, --data names no folder of images"]
    if seconds < EVIDENCE_SECONDS:
        return [f"evidence: not begun, {seconds:.0f} s were left"]
    script = Path(gpu_evidence.__file__)
    command = [sys.executable, str(script), "--data", str(args.data), "--out", str(args.out),
               "--device", args.device, *(["--tiny"] if args.tiny else []),
               *(["--config", *map(str, args.config)] if args.config else []),
               *(["--weights", str(args.weights)] if args.weights else [])]  # fmt: skip
    log = args.out / "evidence.log"
    with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as job:
        try:
            failed = job.wait(seconds - SAVING_SECONDS) != 0
        except subprocess.TimeoutExpired:
            job.terminate()  # a training saves its state then
            try:
                job.wait(SAVING_SECONDS)
            except subprocess.TimeoutExpired:
                job.kill()
            return ["evidence: stopped when the time was over; the same command goes on"]
    return [f"evidence: failed, see {log}"] if failed else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, for a test")
    names = [part.name for part in gpu_parts.PARTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--part", choices=names, help="measure it in this process")
    parser.add_argument("--needs", action="store_true", help="list the packages, and their sizes")
    parser.add_argument("--revision", default=revision(), help="name it where this is a copy")
    parser.add_argument("--data", type=Path, help="folder of real images to train on at the end")
    parser.add_argument("--config", type=Path, nargs="+", help="what the images are")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of a ResNet-50")
    args = parser.parse_args()
    if args.needs:
        print(gpu_needs.table())
        return
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part:
        part = next(part for part in gpu_parts.PARTS if part.name == args.part)
        started = time.monotonic()
        rows = part.measure(torch.device(args.device), args.tiny)
        seconds = round(time.monotonic() - started, 1)
        found = {
            "facts": facts(args.device, args.tiny, args.revision),
            "seconds": seconds,
            "rows": rows,
        }
        write_json(args.out / f"{part.name}.json", found)
        return
    current = facts(args.device, args.tiny, args.revision)
    chosen = [part for part in gpu_parts.PARTS if part.name in args.only]
    ends = time.monotonic() + 60 * args.minutes
    missing = run_parts(chosen, args.out, args.device, current, 60 * args.minutes)
    missing += run_evidence(args, ends - time.monotonic())
    paths = {part.name: args.out / f"{part.name}.json" for part in gpu_parts.PARTS}
    results = {name: read_json(path) for name, path in paths.items() if is_done(path, current)}
    evidence = gpu_evidence.measured(args.out, gpu_evidence.facts_of(args.device, args.tiny))
    if evidence:
        results["evidence"] = {"rows": evidence}
    with atomic(args.out / "report.md") as temporary:
        temporary.write_text(gpu_page.page(results, [*paths, "evidence"], missing, current))
    print((args.out / "report.md").read_text())


if __name__ == "__main__":
    main()
