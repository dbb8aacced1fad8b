"""Progress of long work: a bar on a terminal, plain lines in a log."""

import sys
import time

from tqdm import tqdm

LINE_SECONDS = 10.0


class Progress:
    """Progress over steps with loss, rate, images per second and time left."""

    def __init__(self, title: str, steps: int, first: int, batch: int, shown: bool) -> None:
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

    def close(self) -> None:
        """End the bar."""
        self.bar.close()
