"""Stage `start`: fetch and try, before anything trains, the weights that encoders start from."""

from dataclasses import asdict
from pathlib import Path

from cseg.model.network import build_segmenter
from cseg.settings.network import StartSettings
from cseg.storage.files import write_json

CLASSES = 2  # any number: the encoder is looked at


def start(settings: StartSettings, *, out: str | Path) -> None:
    """Build the network with the weights it starts from, which are downloaded here if they must be.

    `out`, a JSON file, says what they are: name, sha256, data they were trained on, licence,
    normalisation.

    Raises:
        ConfigError: an encoder or weights that timm does not know, a stride or map that the encoder
            does not have, a file of weights that is missing or has another checksum.
        TrainingError: weights that cannot be downloaded, or do not fit.
    """
    write_json(out, asdict(build_segmenter(settings.model, CLASSES, settings.init).start))
