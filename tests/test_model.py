"""The network: maps, strides, published sizes, heads, and what learns."""

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model, resnet50
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights
from torchvision.ops import Conv2dNormActivation

from cseg.errors import ConfigError
from cseg.model.encoders import build_network, cut_encoder
from cseg.model.network import ModelSettings, build_projector, build_segmenter

LITE0 = "tf_efficientnet_lite0"


def build_encoder(name, output_stride, maps=None):
    """An encoder with random weights."""
    return cut_encoder(build_network(name, output_stride), name, output_stride, maps)


def settings(**changes):
    values = {
        "encoder": LITE0,
        "output_stride": 8,
        "maps": {LITE0: (1, 2)},
        "aspp_channels": 16,
        "aspp_rates": (1, 2),
        "aspp_dropout": 0.1,
        "low_channels": 8,
        "decoder_channels": 12,
        "head": "paper",
        "projection_channels": 10,
    }
    return ModelSettings(**(values | changes))


@pytest.mark.parametrize(
    ("name", "output_stride", "maps", "strides", "channels"),
    [
        ("resnet18", 8, None, (4, 8), (64, 512)),
        ("resnet50", 16, None, (4, 16), (256, 2048)),
        ("resnet50", 32, (0, 4), (2, 32), (64, 2048)),
        ("resnet101", 16, None, (4, 16), (256, 2048)),
        (LITE0, 8, (1, 2), (4, 8), (24, 40)),
        (LITE0, 16, None, (4, 16), (24, 320)),
        ("convnext_atto", 16, None, (4, 16), (40, 320)),
        ("vit_tiny_patch16_224", 16, None, (16, 16), (192, 192)),
        ("vit_small_patch14_dinov2", 14, (3, 7), (14, 14), (384, 384)),
    ],
)
def test_maps_have_the_strides_asked_for_and_cover_images_of_every_size(
    name, output_stride, maps, strides, channels
):
    encoder = build_encoder(name, output_stride, maps).eval()
    assert (encoder.low_stride, encoder.high_stride) == strides
    for sides in ((64, 96), (65, 50)):
        with torch.inference_mode():
            found = encoder(torch.zeros(1, 3, *sides))
        sides = [-(-side // encoder.multiple) * encoder.multiple for side in sides]
        for maps_1CHW, stride, count in zip(found, strides, channels, strict=True):
            expected = (1, count, *(-(-side // stride) for side in sides))
            assert tuple(maps_1CHW.shape) == expected, sides


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto"])
def test_an_encoder_without_padding_sees_the_whole_image(name):
    """65 rows are resized to 80, instead of losing the last one: its maps change with it."""
    torch.manual_seed(0)
    encoder = build_encoder(name, 16).eval()
    image = torch.rand(1, 3, 65, 64)
    other = image.clone()
    other[:, :, -1] = 0
    with torch.inference_mode():
        resized = nn.functional.interpolate(image, (80, 64), mode="bilinear", align_corners=False)
        assert torch.equal(encoder(image)[1], encoder(resized)[1])
        assert not torch.equal(encoder(image)[1], encoder(other)[1])


def test_an_encoder_is_cut_behind_its_high_map():
    """55,504 weights, those of EfficientNet-Lite0's first five blocks, of 2,958,848."""
    sizes = [
        sum(p.numel() for p in build_encoder(LITE0, 8, maps).parameters())
        for maps in ((1, 2), None)
    ]
    assert sizes == [55_504, 2_958_848]


@pytest.mark.parametrize(
    ("name", "stride", "maps", "sentence"),
    [
        ("resnet5", 16, None, r"'resnet5', which timm does not know; .* resnet50"),
        ("resnet50.tv_in1k", 16, None, r"'resnet50\.tv_in1k', which timm does not know"),
        (
            "resnet18",
            14,
            None,
            r"output_stride is 14, but .* strides 2, 4, 8, 16, 32; .* map 4, 32",
        ),
        ("vit_tiny_patch16_224", 8, None, r"output_stride is 8, but .* map 11, 16"),
        ("mobilenetv3_small_050", 16, None, r"output_stride is 16, but .* map 4, 32"),
        ("resnet18", 16, (2, 9), r"model\.maps has \[2, 9\] for resnet18, which has maps 0 to 4"),
        ("resnet18", 16, (4, 1), r"model\.maps has \[4, 1\]"),
        ("mixer_s32_224", 32, None, r"does not take images of any size"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused_in_a_sentence(name, stride, maps, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_encoder(name, stride, maps)


def test_dilated_resnet50_is_torchvisions():
    """Same weights, same output as torchvision's own replacement of strides by dilations."""
    torch.manual_seed(0)
    theirs = resnet50(weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    ours = build_encoder("resnet50", output_stride=8).eval()
    fitted = ours.net.load_state_dict(theirs.state_dict(), strict=False)
    assert fitted.missing_keys == [] and fitted.unexpected_keys == ["fc.weight", "fc.bias"]
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
    ours = sum(p.numel() for p in build_encoder(name, 32).parameters())
    assert ours == round(millions * 1e6) - classifier


def test_lite0_has_the_published_parameter_count():
    """4.65 M with head and classifier (TensorFlow's EfficientNet-Lite table), 3.37 M without."""
    whole = sum(p.numel() for p in build_encoder(LITE0, 32).parameters())
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
    wide = {"aspp_rates": (12, 24, 36), "aspp_channels": 256, "output_stride": 8}
    with torch.device("meta"):
        ours = build_segmenter(settings(encoder="resnet50", **wide), 21, "random").eval()
        # after the ASPP, and on layer 3
        theirs, auxiliary = (
            nn.Sequential(Conv2dNormActivation(inputs, 256, 3), nn.Conv2d(256, 21, 1))
            for inputs in (256, 1024)
        )
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
    ours = multiply_adds(build_encoder(LITE0, 32).eval(), 224)
    assert ours + head == pytest.approx(0.407, rel=0.06)


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
    assert tuple(network.project(network.features(x), (12, 10)).shape) == (2, 10, 12, 10)


def test_features_are_resized_before_the_head():
    """129 to 65 with aligned corners takes every second pixel, and a pointwise head commutes."""
    torch.manual_seed(0)
    network = build_segmenter(settings(), classes=3, init="random").eval()
    feats = torch.randn(2, 12, 17, 9)
    with torch.no_grad():
        every_second = network.projector(feats)[:, :, ::2, ::2]
        assert torch.allclose(network.project(feats, (9, 5)), every_second, atol=1e-5)


def test_impossible_heads_and_starts_are_refused():
    with pytest.raises(ConfigError, match=r"model\.encoder is 'vgg'"):
        build_segmenter(settings(encoder="vgg"), 3, "random")
    with pytest.raises(ConfigError, match="init is 'noise'; use random, imagenet"):
        build_segmenter(settings(), 3, "noise")


@pytest.mark.parametrize(
    ("trained", "learns"),
    [
        ("all", {"encoder", "aspp", "reduce", "decoder", "classifier"}),
        ("decoder", {"aspp", "reduce", "decoder", "classifier"}),
        ("classifier", {"classifier"}),
    ],
)
def test_what_does_not_learn_keeps_weights_and_statistics(trained, learns):
    torch.manual_seed(0)
    network = build_segmenter(settings(), 3, "random")
    network.drop_projector()
    network.freeze(trained)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD((p for p in network.parameters() if p.requires_grad), lr=0.1)
    network(torch.rand(2, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    changed = {
        name.split(".")[0]
        for name, value in network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == learns
