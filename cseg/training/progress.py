"""Progress of a training: a bar on a terminal, plain lines in a log, curves for TensorBoard."""

import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cseg.errors import ConfigError, install_command

LINE_SECONDS = 10.0


class Progress:
    """Progress over steps with loss, rate, images per second and time left; curves in `folder`."""

    def __init__(
        self, title: str, steps: int, first: int, batch: int, *, shown: bool, folder: Path | None
    ) -> None:
        self.writer = _tensorboard(folder, first) if folder and shown else None
        self.title, self.steps, self.first, self.batch = title, steps, first, batch
        self.started = self.spoken = time.monotonic()
        self.shown = shown  # by the leading process only
        live = shown and sys.stderr.isatty()
        self.bar = tqdm(total=steps, initial=first, desc=title, disable=not live, unit="step")
        if shown and not live:
            start = f"resumes after step {first}" if first else "starts"
            print(f"{title}: {start}, {steps} steps", file=sys.stderr, flush=True)

    def show(self, done: int, loss: float, rate: float) -> None:
        """Report that `done` steps are done."""
        if not self.shown:
            return
        now = time.monotonic()
        speed = (done - self.first) * self.batch / max(now - self.started, 1e-9)
        if not self.bar.disable:
            self.bar.set_postfix(loss=f"{loss:.4f}", lr=f"{rate:.2e}", images_s=f"{speed:.0f}")
            self.bar.update(done - self.bar.n)
        elif now - self.spoken >= LINE_SECONDS or done == self.steps:
            left = (self.steps - done) * self.batch / speed
            print(
                f"{self.title}: step {done}/{self.steps} loss {loss:.4f} lr {rate:.2e} "
                f"{speed:.0f} images/s {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            self.spoken = now

    def draw(self, done: int, values: dict[str, float]) -> None:
        """Write values by name to TensorBoard's curves, at once."""
        if self.writer is None:
            return
        for name, value in values.items():
            self.writer.add_scalar(name, value, done)
        self.writer.flush()

    def close(self) -> None:
        """End the bar and the curves."""
        self.bar.close()
        if self.writer is not None:
            self.writer.close()


def _tensorboard(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "config key tensorboard is true but TensorBoard is not installed; "
            f"{install_command('tensorboard')}, or set it to false"
        ) from error
    # what a killed run wrote after its saved state is hidden from here on
    return SummaryWriter(folder, purge_step=first + 1)
