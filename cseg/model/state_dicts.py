"""State dicts as people publish them: read from a file, and fitted to a network by name."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from cseg.errors import TrainingError, listed

PREFERRED = {"encoder_q", "teacher", "online_encoder"}  # of a network and its twin in one file


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file under its name, those inside a training checkpoint included.

    The names of mappings inside mappings are joined by dots.

    Raises:
        TrainingError: the file is damaged, runs code when it is read, or holds no tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = dict(_tensors(torch.load(path, map_location="cpu", weights_only=True), ""))
        if not state:
            raise ValueError("no tensor in it")
    except Exception as error:  # torch and safetensors raise many types for foreign files
        raise TrainingError(
            f"weights {path} hold no state dict of tensors; save one with "
            "torch.save(network.state_dict(), path)"
        ) from error
    return state


def _tensors(content: object, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def load_state(net: nn.Module, state: Mapping[str, Tensor], title: str, encoder: str) -> None:
    """Load into `net` the tensors of its names, whatever the names in `state` begin with.

    Names of the architecture's authors are translated as timm does. Tensors that `net` does not
    have, such as a classifier's, are left out, which is printed.

    Raises:
        TrainingError: tensors are missing or have another shape; the message lists them.
    """
    own = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    best = _without_prefix(state, own)
    translate = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if translate is not None and not own.keys() <= best.keys():
        plain = dict(state)
        while len({key.partition(".")[0] for key in plain}) == 1:
            plain = {key.partition(".")[2]: value for key, value in plain.items()}
        with suppress(Exception):  # what translates one family's names may raise at any other's
            translated = translate(plain, net)
            best = translated if len(translated.keys() & own) > len(best.keys() & own) else best
    missing = [key for key in own if key not in best]
    shapes = [
        f"{key} {tuple(best[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in best and best[key].shape != value.shape
    ]
    if missing or shapes:
        faults = [f"{len(missing)} tensors are missing ({listed(missing)})"] if missing else []
        faults += [f"{len(shapes)} have another shape ({listed(shapes)})"] if shapes else []
        raise TrainingError(
            f"{title} do not fit model.encoder {encoder}: {' and '.join(faults)}; use weights of "
            "that architecture"
        )
    unused = sorted(best.keys() - net.state_dict().keys())
    if unused:
        print(f"{title}: {len(unused)} tensors are not used ({listed(unused)})", file=sys.stderr)
    net.load_state_dict({k: v for k, v in best.items() if k not in unused}, strict=False)


def _without_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of `state` behind the prefix that most names of the network follow."""
    first = next(iter(own))
    prefixes = {"", *(key[: -len(first)] for key in state if key.endswith(f".{first}"))}

    def rank(prefix: str) -> tuple[int, bool]:
        found = sum(prefix + name in state for name in own)
        return found, not PREFERRED.isdisjoint(prefix.split("."))

    prefix = max(sorted(prefixes), key=rank)
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}


def load_in_order(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load EfficientNet-Lite0's package: its tensors have timm's order, under other names.

    Raises:
        RuntimeError: another number of tensors, or another shape.
    """
    values = [value for key, value in state.items() if not key.startswith("_fc.")]
    net.load_state_dict(dict(zip(net.state_dict(), values, strict=True)))
