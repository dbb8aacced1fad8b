"""The command line: the cost of a config, tables from CSVs, checkpoints, masks, ONNX."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cseg
from cseg import pipeline
from cseg.errors import CsegError, install_command, reason

Command = Callable[[argparse.Namespace], int | None]
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
OUTPUTS = (
    "Writes below --out, for each image: NAME_mask.png (class ids, with the classes' colours), "
    "NAME_overlay.png, and on request NAME_entropy.png (0 certain, 255 all classes alike) and "
    "NAME_probability.png (255 is 1). predictions.csv begins with the least certain image, the one "
    "to label next. Files there that cseg did not write are never replaced, and what it wrote is "
    "never taken for an image. After Ctrl-C predictions.csv lists what is done."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 after a failure, which is one sentence on stderr; 2 for a wrong command line; 130 after
        Ctrl-C.
    """
    chosen = _parser().parse_args(arguments)
    try:
        return chosen.run(chosen) or 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except CsegError as error:
        problem = str(error)
    except ModuleNotFoundError as error:
        needed, command = error.name, install_command("workflow")
        problem = f"this command needs {needed}, which is not installed; run {command}"
    except OSError as error:
        file = error.filename or "a file"
        problem = f"cannot use {file}: {error.strerror or error}; check the path"
    except ValueError as error:
        problem = f"{type(error).__name__}: {reason(error)}; correct the input"
    print(f"error: {problem}", file=sys.stderr)
    return 1


def positive(text: str, kind: type[int] | type[float] = int) -> float:
    """A number above 0 of the command line, whole unless `kind` is float."""
    try:
        number = kind(text) if kind is float or text.isdecimal() else 0
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        wanted = "a whole number of at least 1" if kind is int else "a number above 0"
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cseg", description=cseg.__doc__)
    parser.add_argument("--version", action="version", version=cseg.__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(run: Command, does: str, **options: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__.strip("_"), help=does, **options)
        added.set_defaults(run=run)
        return added

    init = command(_init, "a config and a contact sheet from your own images")
    init.add_argument("images", type=Path, help="folder of images, or of images/ and labels/")
    init.add_argument("--labels", type=Path, help="folder of the labels, or a COCO file")
    init.add_argument("--out", type=Path, default=Path("mine.yaml"), help="the config to write")

    # without a prefix character every word, options too, goes to Snakemake as it is
    does = "run the workflow: snakemake, with its options"
    run = command(_run, does, prefix_chars="\0", add_help=False)
    run.add_argument("words", nargs="*", help="as for snakemake; smoke.yaml names a shipped config")

    status = command(_status, "runs done, in progress and to come")
    status.add_argument("results", type=Path, help="results folder, or one experiment's in it")

    paper = command(_paper, "render tables and figures again from CSVs")
    paper.add_argument("results", type=Path, help="results folder, or one dataset's folder in it")
    paper.add_argument(
        "--collect", action="store_true", help="gather the runs that have finished first"
    )

    plan = command(_plan, "jobs, device-hours, disk and memory of a config")
    plan.add_argument("--configfile", type=Path, nargs="+", default=[], help="as for snakemake")
    plan.add_argument("--devices", type=positive, default=1, help="how many runs go on at a time")
    pixels: dict[str, Any] = {"type": positive, "nargs": 2, "metavar": ("H", "W")}
    plan.add_argument("--size", **pixels, help="size of an image, where no index is")
    plan.add_argument("--calibration", type=Path, help="costs saved before; measures nothing")
    plan.add_argument(
        "--teraflops",
        type=partial(positive, kind=float),
        help="count for a device that reaches so much; measures nothing",
    )
    plan.add_argument("--save", type=Path, help="file for the costs measured here")

    info = command(_info, "say what a checkpoint is")
    info.add_argument("checkpoint", type=Path, help="finetune.pt of a run")

    predict = command(_predict, "masks of images, and which image to label next", epilog=OUTPUTS)
    predict.add_argument("images", type=Path, nargs="+", help="image files or folders of them")
    predict.add_argument("--checkpoint", type=Path, required=True, help="finetune.pt of a run")
    predict.add_argument("--out", type=Path, required=True, help="folder for the results")
    predict.add_argument("--device", default="auto", help="auto, cpu or cuda")
    predict.add_argument("--threads", type=positive, default=1, help="CPU threads")
    predict.add_argument(
        "--window",
        **pixels,
        help="sliding window, pixels; without it images are predicted as the run's evaluation did, "
        "and those from 17 megapixels on by windows of 1024x1024",
    )
    choice = argparse.BooleanOptionalAction
    for name, usual, does in (
        ("--overlay", True, "lay the classes over each image"),
        ("--entropy", False, "write a map of each pixel's entropy"),
        ("--probability", False, "write a map of the class's probability"),
    ):
        predict.add_argument(name, action=choice, default=usual, help=does)
    predict.add_argument(
        "--max-megapixels", type=positive, metavar="N", help="predict images of up to N megapixels"
    )

    export = command(_export, "a network as ONNX (needs the extra onnx)")
    export.add_argument("checkpoint", type=Path, help="finetune.pt of a run")
    export.add_argument("--out", type=Path, required=True, help="the .onnx file to write")
    return parser


def _init(chosen: argparse.Namespace) -> None:
    from cseg.init.write import init

    print(init(chosen.images, chosen.labels, chosen.out))


def _run(chosen: argparse.Namespace) -> None:
    if importlib.util.find_spec("snakemake") is None:
        raise ModuleNotFoundError(name="snakemake")
    words = [pipeline.shipped_config(word) for word in chosen.words]
    command = [sys.executable, "-m", "snakemake", "-s", str(pipeline.SNAKEFILE), *words]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # signals and the exit code are Snakemake's own


def _status(chosen: argparse.Namespace) -> None:
    from cseg.estimate.status import status

    print(status(chosen.results))


def _paper(chosen: argparse.Namespace) -> None:
    from cseg.paper.render import paper

    for path in paper(chosen.results, collect_runs=chosen.collect, published=pipeline.PUBLISHED):
        print(path)


def _plan(chosen: argparse.Namespace) -> None:
    from cseg import experiment
    from cseg.estimate.plan import plan

    told = plan(
        experiment.load(chosen.configfile),
        chosen.devices,
        size_HW=tuple(chosen.size) if chosen.size else None,
        calibration=chosen.calibration,
        save=chosen.save,
        teraflops=chosen.teraflops,
    )
    print(told)


def _info(chosen: argparse.Namespace) -> None:
    from cseg.inference.load import describe

    for name, value in describe(chosen.checkpoint).items():
        print(f"{name}: {value}")


def _predict(chosen: argparse.Namespace) -> int:
    from cseg.inference.masks import MAPS, TABLE, MaskSettings, write_masks

    settings = MaskSettings(
        device=chosen.device,
        threads=chosen.threads,
        window=tuple(chosen.window) if chosen.window else None,
        more=tuple(kind for kind in MAPS if getattr(chosen, kind)),
        max_megapixels=chosen.max_megapixels,
    )
    outcome = write_masks(chosen.checkpoint, chosen.images, chosen.out, settings)
    stopped = "stopped: " if outcome.interrupted else ""
    table = chosen.out / TABLE
    print(f"{stopped}{outcome.done} of {outcome.images} images, listed in {table}", file=sys.stderr)
    if outcome.problems:
        print(f"{outcome.problems} were skipped; {table} says why", file=sys.stderr)
    return INTERRUPTED if outcome.interrupted else int(outcome.problems > 0)


def _export(chosen: argparse.Namespace) -> None:
    from cseg.inference.onnx import export

    export(chosen.checkpoint, chosen.out)
    print(chosen.out)
