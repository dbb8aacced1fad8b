"""Where an encoder starts: the weights really loaded, what belongs to them, and what is refused."""

import os
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_runs import ROOT
from test_model import LITE0, settings

from cseg.datasets.reading import read_image
from cseg.errors import ConfigError, TrainingError
from cseg.model.encoders import build_network
from cseg.model.network import build_segmenter
from cseg.model.weights import GivenWeights, start_encoder, trained_on
from cseg.storage.files import sha256_file

SHARED = Path(os.environ.get("CSEG_SHARED_DATA", ROOT.parent / "shared" / "data"))


def given(path: Path, **facts) -> GivenWeights:
    return GivenWeights(weights=str(path), sha256=sha256_file(path), **facts)


def resnet18(seed: int = 1) -> dict[str, torch.Tensor]:
    return dict(_resnet18(seed))


@cache
def _resnet18(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return build_network("resnet18", 32).state_dict()


# Mean, spread and one value of both maps, computed by the package efficientnet_lite_pytorch 0.1.0,
# whose architecture these weights were made for: 65 x 49 pixels of a pattern.
PATTERN = {
    (8, (1, 2)): [0.6402, 14.2313, 3.9974, -0.1492, 10.9524, -3.6574],
    (16, None): [0.6402, 14.2313, 3.9974, -0.0047, 2.9585, 3.3076],
    (32, None): [0.6402, 14.2313, 3.9974, 0.0396, 3.4135, 4.3426],
}


@pytest.mark.parametrize(("shape", "values"), PATTERN.items())
def test_lite0_with_its_installed_weights_is_the_package_it_came_with(shape, values):
    rows, columns = torch.meshgrid(torch.arange(65), torch.arange(49), indexing="ij")
    channels = [rows * 3 + columns * 5, rows * columns, rows + 2 * columns]
    image = torch.stack([(channel % 256).float() for channel in channels])[None] / 255
    encoder, start = start_encoder(LITE0, *shape, "imagenet")
    normalised = (image - torch.tensor(start.mean[0])) / torch.tensor(start.std[0])
    with torch.inference_mode():
        low, high = encoder.eval()(normalised)
    found = [low.mean(), low.std(), low[0, 3, 5, 7], high.mean(), high.std(), high[0, 7, 1, 1]]
    assert [float(value) for value in found] == pytest.approx(values, abs=2e-4)


def test_lite0_sees_a_photograph_as_the_package_did():
    photograph = "voc2012_animals/VOCdevkit/VOC2012/JPEGImages/2007_000332.jpg"
    if not (SHARED / photograph).exists():
        pytest.skip("needs the shared VOC photographs")
    image = torch.from_numpy(read_image(SHARED / photograph)).permute(2, 0, 1)[None].float() / 255
    encoder, _ = start_encoder(LITE0, 32, None, "imagenet")
    with torch.inference_mode():
        low, high = encoder.eval()((image - 127 / 255) / (128 / 255))
    found = [low.mean(), low.std(), high.mean(), high.std(), high[0, 7, 3, 4]]
    expected = [0.7, 9.6052, 0.0438, 2.7078, 2.4997]
    assert [float(value) for value in found] == pytest.approx(expected, abs=2e-3)


def wrapped(state: dict, prefix: str) -> dict:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "layout",
    ["flat", "module.", "backbone.", "nested", "moco", "teacher", "safetensors"],
)
def test_a_state_dict_is_found_whatever_is_around_it(tmp_path, capsys, layout):
    state, twin = resnet18(1), resnet18(2)
    path = tmp_path / ("start.safetensors" if layout == "safetensors" else "start.pth")
    head = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    if layout == "safetensors":
        save_file(state | head, path)
    else:
        content = {
            "flat": state | head,
            "nested": {"epoch": 3, "model": {"state_dict": state}, "optimizer": {"lr": [0.1]}},
            "moco": {
                "state_dict": wrapped(twin, "module.encoder_k.")
                | wrapped(state, "module.encoder_q.") | {"module.queue": torch.zeros(4)}
            },
            "teacher": {"student": wrapped(twin, "module.backbone."),
                        "teacher": wrapped(state, "backbone.")},
        }.get(layout, wrapped(state, layout))  # fmt: skip
        torch.save(content, path)
    encoder, start = start_encoder("resnet18", 16, None, given(path, data="mine", licence="mit"))
    assert torch.equal(encoder.net.conv1.weight, state["conv1.weight"])
    assert torch.equal(encoder.net.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert (start.weights, start.sha256) == (path.name, sha256_file(path))
    assert (start.data, start.licence) == ("mine", "mit")
    if layout in ("flat", "safetensors"):
        assert "2 tensors are not used (fc.bias, fc.weight)" in capsys.readouterr().err


def test_what_does_not_fit_is_listed(tmp_path):
    state = resnet18()
    del state["layer1.0.conv1.weight"]
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    path = tmp_path / "grey.pth"
    torch.save(state, path)
    sentence = (
        r"weights grey\.pth do not fit model\.encoder resnet18: 1 tensors are missing "
        r"\(layer1\.0\.conv1\.weight\) and 1 have another shape "
        r"\(conv1\.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)\)"
    )
    with pytest.raises(TrainingError, match=sentence):
        start_encoder("resnet18", 16, None, given(path))
    with pytest.raises(TrainingError, match=r"do not fit model\.encoder resnet50: \d+ tensors"):
        start_encoder("resnet50", 16, None, given(path))
    torch.save({"epoch": 3}, path)
    with pytest.raises(TrainingError, match="hold no state dict of tensors"):
        start_encoder("resnet18", 16, None, given(path))


def test_a_file_needs_its_checksum(tmp_path):
    path = tmp_path / "start.pth"
    torch.save(resnet18(), path)
    with pytest.raises(ConfigError, match=f"add sha256: {sha256_file(path)}"):
        start_encoder("resnet18", 16, None, GivenWeights(weights=str(path)))
    with pytest.raises(ConfigError, match=r"have sha256 .* but the arm's init says 0000"):
        start_encoder("resnet18", 16, None, GivenWeights(weights=str(path), sha256="0" * 64))
    with pytest.raises(ConfigError, match="do not exist"):
        start_encoder("resnet18", 16, None, GivenWeights(weights=str(tmp_path / "absent.pth")))


@pytest.mark.parametrize(
    ("encoder", "init", "sentence"),
    [
        ("resnet50", GivenWeights(weights="resnet50.tv3"), r"'resnet50\.tv3', .*50\.tv2_in1k"),
        ("resnet50", GivenWeights(weights="resnet18.tv_in1k"), "does not have for model.encoder"),
        ("vit_small_patch14_dinov2", "imagenet", r"are not ImageNet's .*dinov2\.lvd142m"),
    ],
)  # fmt: skip
def test_weights_that_timm_does_not_have_are_refused(encoder, init, sentence):
    with pytest.raises(ConfigError, match=sentence):
        start_encoder(encoder, 14 if "14" in encoder else 16, None, init)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The cache of the Hugging Face Hub, empty, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_weights_that_cannot_be_had_are_an_error_not_a_random_start(hub):
    sentence = (
        r"^weights resnet18\.tv_in1k could not be downloaded .*; fetch model\.safetensors of "
        r"timm/resnet18\.tv_in1k from huggingface\.co .* init: \{weights: FILE, sha256: SUM\}"
    )
    with pytest.raises(TrainingError, match=sentence):
        start_encoder("resnet18", 16, None, "imagenet")


def test_published_weights_come_from_the_hubs_cache_with_their_facts(hub):
    """A cache as a download leaves it, filled by hand: no network here."""
    cache = hub / "models--timm--resnet18.tv_in1k"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    snapshot = cache / "snapshots" / "abc" / "model.safetensors"
    snapshot.parent.mkdir(parents=True)
    save_file(resnet18(), snapshot)
    _, start = start_encoder("resnet18", 16, None, "imagenet")
    assert (start.weights, start.sha256) == ("resnet18.tv_in1k", sha256_file(snapshot))
    assert (start.data, start.licence) == ("ImageNet-1k (labels)", "bsd-3-clause")
    assert start.mean == (0.485, 0.456, 0.406)
    other = GivenWeights(weights="resnet18.a1_in1k")
    with pytest.raises(TrainingError, match=r"resnet18\.a1_in1k could not be downloaded"):
        start_encoder("resnet18", 16, None, other)


@pytest.mark.parametrize(
    ("tag", "data"),
    [
        ("tv2_in1k", "ImageNet-1k (labels)"),
        ("fb_swsl_ig1b_ft_in1k", "Instagram-1B (hashtags), ImageNet-1k (labels)"),
        ("lvd142m", "LVD-142M (no labels)"),
        ("dino", "ImageNet-1k (no labels)"),
        ("fcmae_ft_in22k_in1k",
         "ImageNet-1k (no labels), ImageNet-22k (labels), ImageNet-1k (labels)"),
        ("in22k_ijepa", "ImageNet-22k (no labels)"),
        ("bamboo", "what timm calls bamboo"),
    ],
)  # fmt: skip
def test_a_tag_tells_the_data(tag, data):
    assert trained_on(tag) == data


def test_each_start_brings_its_normalisation(tmp_path):
    """A grey image at the mean of the weights reaches the encoder as zeros, also after loading."""
    path = tmp_path / "start.pth"
    torch.save(build_network(LITE0, 8).state_dict(), path)
    mine = given(path, mean=(0.2, 0.3, 0.4), std=(0.1, 0.2, 0.5))
    network = build_segmenter(settings(), 3, mine).eval()
    again = build_segmenter(settings(), 3, "random").eval()
    again.load_state_dict(network.state_dict())
    seen = []
    for one in (network, again):
        one.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        grey = torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
        one(grey)
        one(grey + torch.tensor([0.1, 0.2, 0.5]).view(1, 3, 1, 1))
        zeros, ones = seen[-2:]
        assert zeros.abs().max() < 1e-6 and (ones - 1).abs().max() < 1e-5
    usual = build_segmenter(settings(), 3, "imagenet").start
    assert usual.mean == (127 / 255,) * 3 and usual.std == (128 / 255,) * 3
    plain, _ = start_encoder("resnet18", 16, None, "random")[1], None
    assert plain.mean == (0.485, 0.456, 0.406) and plain.weights == "random"


def test_init_changes_the_encoder_and_only_it():
    torch.manual_seed(5)
    random = build_segmenter(settings(), 3, "random").state_dict()
    torch.manual_seed(5)
    imagenet = build_segmenter(settings(), 3, "imagenet").state_dict()
    differs = {key.split(".")[0] for key in random if not torch.equal(random[key], imagenet[key])}
    assert differs == {"encoder"}
