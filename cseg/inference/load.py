"""Fine-tuned networks back from checkpoints, ready to predict images.

Shapes: K classes, H and W height and width of an image as it was given.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cseg.datasets.decode import decoded
from cseg.datasets.reading import read_image, to_rgb
from cseg.datasets.samples import PLAIN, DatasetInfo, info_from_json
from cseg.errors import DataError, readable
from cseg.images.transforms import resized_shape
from cseg.inference.predict import ProtocolSettings, predict, probabilities, score_bands
from cseg.model import checkpoint
from cseg.model.network import Segmenter, build_segmenter
from cseg.model.weights import Start
from cseg.settings.keys import build
from cseg.settings.run import RunSettings
from cseg.storage.files import check_unchanged
from cseg.storage.tables import read_rows

LARGE = 2**24  # pixels of an image, after its resizing, from which on it is predicted by windows
WINDOW, OVERLAP = (1024, 1024), 128  # then; half a window would take three times as long

ImageLike = str | Path | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True)
class LoadedSegmenter:
    """A fine-tuned network and what it was made for."""

    # in evaluation mode; images RGB in 0..1, already resized, to class logits; it computes where it
    # is: `segmenter.network.to("cuda")`
    network: Segmenter
    info: DatasetInfo  # classes and palette
    settings: RunSettings  # the run's
    title: str  # dataset, arm, n and seed

    def predict(self, image: ImageLike, window: tuple[int, int] | None = None) -> np.ndarray:
        """The class id of each pixel, uint8 (H, W): what `cseg predict` writes as a mask.

        Args:
            image: a file, a PIL image, an array (H, W), (H, W, 3) or (H, W, 4), or a tensor
                (3, H, W); numbers are uint8, or float in 0..1. Any size: it is resized as in
                training first.
            window: height and width of a sliding window with half overlap; None applies the
                network as the run's evaluation did, or, if that took whole images, by windows of
                1024x1024 that share 128 pixels to an image of 17 megapixels or more.

        Raises:
            DataError: the file cannot be read, or the array is no image.
            TrainingError: the device has not enough memory.
        """
        pixels = image_pixels(image, self.info)
        size = (pixels.shape[-2], pixels.shape[-1])
        return predict(self.network, pixels, size, self.protocol(size, window)).numpy()

    def probabilities(self, image: ImageLike, window: tuple[int, int] | None = None) -> np.ndarray:
        """The probability of each class at each pixel, float32 (K, H, W); see `predict`."""
        bands = self.probability_bands(image_pixels(image, self.info), window)
        return torch.cat([shares.cpu() for _, shares in bands], dim=1).numpy()

    def probability_bands(
        self, image_3HW: Tensor, window: tuple[int, int] | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Classes (rows, W) and probabilities (K, rows, W) of bands of rows, top to bottom."""
        size = (image_3HW.shape[-2], image_3HW.shape[-1])
        protocol = self.protocol(size, window)
        for scores in score_bands(self.network, image_3HW, size, protocol):
            yield scores.argmax(dim=0), probabilities(scores, protocol)

    def protocol(self, size: tuple[int, int], window: tuple[int, int] | None) -> ProtocolSettings:
        """How an image of `size` is predicted; `window` as in `predict`."""
        usual = ProtocolSettings.of(self.settings)
        height, width = resized_shape(*size, usual.short_side)
        if height * width >= LARGE and not (window or usual.window):
            return ProtocolSettings(usual.short_side, WINDOW, OVERLAP)
        return ProtocolSettings(usual.short_side, window or usual.window)


def load_segmenter(path: str | Path) -> LoadedSegmenter:
    """Load what `finetune` wrote, on the CPU.

    Raises:
        TrainingError: the file is missing, damaged or no fine-tuned checkpoint.
    """
    content = checkpoint.load(path, "finetune")
    info = info_from_json(content["dataset"])
    settings = build(RunSettings, content["settings"], f"{path}: settings")
    network = build_segmenter(settings.model, info.num_classes, "random")
    network.drop_projector()
    network.load_state_dict(content["network"])
    network.start = build(Start, content["start"], f"{path}: start")
    network.to(memory_format=torch.channels_last).eval()
    return LoadedSegmenter(network, info, settings, content["title"])


def image_pixels(image: ImageLike, info: DatasetInfo = PLAIN) -> Tensor:
    """An image as `LoadedSegmenter.predict` takes it, as uint8 RGB (3, H, W).

    Files and PIL images are read as those of the dataset `info`: upright, deep ones scaled.

    Raises:
        DataError: the file cannot be read, or the array is no image; says what it must be.
    """
    if isinstance(image, (str, Path)):
        pixels = read_image(image, info)
    elif isinstance(image, Image.Image):
        pixels = to_rgb("given", decoded(image, info), info)
    else:
        pixels = _array_pixels(image)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _array_pixels(image: np.ndarray | Tensor) -> np.ndarray:
    """uint8 (H, W, 3)."""
    tensor = isinstance(image, Tensor)
    values = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
    if values.ndim == 3 and tensor:
        values = values.transpose(1, 2, 0)
    if values.ndim == 2:
        values = values[..., None].repeat(3, axis=2)
    if values.ndim != 3 or values.shape[-1] not in (3, 4) or not values.size:
        wanted = "(3, H, W)" if tensor else "(H, W), (H, W, 3) or (H, W, 4)"
        raise DataError(
            f"a {'tensor' if tensor else 'array'} of shape {tuple(image.shape)} is no image; "
            f"give one of shape {wanted}"
        )
    values = values[..., :3]
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind != "f" or not (values.min() >= 0 and values.max() <= 1):
        raise DataError(
            f"the numbers of an image must be uint8 (0 to 255) or float (0 to 1), not "
            f"{values.dtype} from {values.min():g} to {values.max():g}; give those"
        )
    return (values * 255).round().astype(np.uint8)


def describe(path: str | Path) -> dict[str, str]:
    """Facts of a fine-tuned checkpoint, by name, for people.

    mIoU stands in the `metrics.csv` beside the checkpoint, where evaluation has written it.

    Raises:
        TrainingError: the file is missing, damaged or no fine-tuned checkpoint.
    """
    content = checkpoint.load(path, "finetune")
    info, settings = info_from_json(content["dataset"]), content["settings"]
    start = content["start"]
    metrics, measured = Path(path).with_name("metrics.csv"), "not evaluated yet"
    if metrics.exists():
        check_unchanged(metrics)
        with readable(metrics, "evaluate the run again", IndexError):
            measured = f"{float(read_rows(metrics, ('miou',))[0]['miou']):.4f}"
    return {
        "run": content["title"],
        "dataset": info.name,
        "classes": ", ".join(info.class_names),
        "labelled images": str(content["n"]),
        "encoder started from": start["weights"],
        **{name: start[name] for name in ("data", "licence") if start[name]},
        "pretraining": settings["scope"],
        "encoder": settings["model"]["encoder"],
        "validation mIoU": measured,
        "subset fingerprint": content["subset_fingerprint"],
        **{key.replace("_", " "): value for key, value in content["provenance"].items()},
    }
