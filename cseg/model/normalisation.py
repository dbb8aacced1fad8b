"""How an image is normalised: as belongs to the weights that the encoder starts from."""

from collections.abc import Sequence

from torch import Tensor

Channels = tuple[float, float, float]  # red, green, blue
LITE0 = "tf_efficientnet_lite0"  # its weights come with a pip package


def normalised(images_BCHW: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """RGB of 0..1 as the encoder takes it; `mean` and `std` are (1, C, 1, 1)."""
    return (images_BCHW - mean) / std


def default_normalisation(name: str) -> tuple[Channels, Channels]:
    """Mean and standard deviation of a network's published weights; ImageNet's if it has none."""
    import timm

    if name == LITE0:
        return (127 / 255,) * 3, (128 / 255,) * 3
    defaults = timm.get_pretrained_cfg(name)
    if defaults is None:
        return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return of_channels(defaults.mean), of_channels(defaults.std)


def of_channels(values: Sequence[float]) -> Channels:
    """Three values, one per channel."""
    red, green, blue = values
    return red, green, blue
