"""Training curves for TensorBoard, where the config asks for them."""

from pathlib import Path

from cseg.errors import ConfigError, install_command


class Board:
    """Writes values by name and step below `folder`; None writes nothing."""

    def __init__(self, folder: Path | None, first: int) -> None:
        self.writer = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "config key tensorboard is true but TensorBoard is not installed; "
                f"{install_command('tensorboard')}, or set it to false"
            ) from error
        # what a killed run wrote after its saved state is hidden from here on
        self.writer = SummaryWriter(folder, purge_step=first + 1)

    def show(self, step: int, values: dict[str, float]) -> None:
        """Write the values of a step, at once."""
        if self.writer is None:
            return
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        """End the file."""
        if self.writer is not None:
            self.writer.close()
