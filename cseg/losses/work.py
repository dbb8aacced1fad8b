"""How much the CUDA kernels of the loss compute."""

PRODUCTS = 3  # of float16 parts, for one product to float32's accuracy


def kernel_flops(
    scope: str,
    denominator: str,
    *,
    images: int,
    pixels: int,
    channels: int,
    half: bool,
    second_view: bool,
    alike: float,
    remembered: int = 0,
) -> float:
    """Count the flops of the kernels for value and gradients (a multiply-add is two).

    The paper's form takes 8 per channel and pair of anchor and candidate: two passes, each a
    product for the similarity and one for the gradient. Of a partner image, an anchor meets the
    pixels of its own class only. The released form takes 6 per channel and pair of pixels of a bag,
    and 2 more for a pair of one class; pairs of both views are masked, not left out.

    `half` features are bfloat16; others take three products for one. `alike` is the share of the
    pairs of pixels that have one class, `second_view` whether the loss sees a second view of each
    image, and `remembered` the number of further images that the scope batch has as candidates.
    """
    if denominator == "all":
        others = {"within": 1, "cross": 1 + alike, "batch": images + remembered}[scope]
        pairs, each = images * others, 8.0
    else:
        seen = images * (2 if second_view else 1)
        sides = {"within": seen, "cross": 4 * images, "batch": (seen + remembered) ** 2}
        pairs, each = sides[scope], 6.0 + 2.0 * alike
    return each * (1 if half else PRODUCTS) * channels * pairs * pixels**2
