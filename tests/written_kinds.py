"""Write one truth, an upright image and its class ids, as every kind of file that people have.

The encoders are not those of the reading code: PNGs of few bits are packed here by hand.
Truth: images uint8 (H, W) grey or (H, W, 3), class ids uint8 (H, W) with 255 for ignored pixels.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def as_stored(upright: np.ndarray, tag: int) -> np.ndarray:
    """The pixels that a file with this orientation tag stores (EXIF 2.3, figure on the tag)."""
    turned = upright.swapaxes(0, 1) if tag >= 5 else upright
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (0,), 7: (0, 1), 8: (1,)}.get(tag, ())
    return np.ascontiguousarray(np.flip(turned, flips))


def png(values: np.ndarray, bits: int, palette: list[tuple[int, int, int]] | None = None) -> bytes:
    """A PNG of grey samples, or of palette indices, with so many bits each."""
    height, width = values.shape
    if bits == 16:
        rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    elif bits == 8:
        rows = values.astype(np.uint8)
    else:
        planes = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        rows = np.packbits(planes.reshape(height, -1).astype(np.uint8), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    kind = 0 if palette is None else 3
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    if palette is not None:
        chunks.append((b"PLTE", np.array(palette, np.uint8).tobytes()))
    chunks += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def save(path: Path, values: np.ndarray, tag: int = 1, **options: object) -> None:
    """Save an array by Pillow, turned as the orientation tag says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if tag != 1:
        exif = Image.Exif()
        exif[ORIENTATION] = tag
        options = {**options, "exif": exif}
    Image.fromarray(as_stored(values, tag)).save(path, **options)


def write_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_image_kind(path: Path, grey: np.ndarray, depth: str, tag: int = 1) -> None:
    """An image whose truth is the grey `grey` (uint8), of a depth: 8, 16, 12, int or float.

    12 is 12-bit data in 16-bit samples; int lies on -1000..1000, float on 0..1.
    """
    if depth == "8":
        extra = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
        save(path, np.repeat(grey[..., None], 3, 2), tag, **extra.get(path.suffix, {}))
        return
    wide = grey.astype(np.float64)
    values = {
        "16": lambda: grey.astype(np.uint16) * 257,
        "12": lambda: np.rint(wide * 4095 / 255).astype(np.uint16),
        "int": lambda: np.rint(wide * 2000 / 255 - 1000).astype(np.int32),
        "float": lambda: (wide / 255).astype(np.float32),
    }[depth]()
    save(path, values, tag)


RANGES = {"8": None, "16": None, "12": [0, 4095], "int": [-1000, 1000], "float": [0, 1]}


def write_label_kind(path: Path, ids: np.ndarray, kind: str, palette: list) -> None:
    """A label whose stored numbers (or colours, for rgb and rgba) are `ids`; 255 ignored.

    Kinds: grey1, grey2, grey4, grey8, grey16, index1, index2, index4, index8, int32, bmp, tiff,
    webp, rgb, rgba. Fewer bits hold only small ids. `palette`: 256 colours.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind.startswith("grey"):
        write_bytes(path, png(ids, int(kind[4:])))
    elif kind.startswith("index"):
        bits = int(kind[5:])
        write_bytes(path, png(ids, bits, palette[: 2**bits]))
    elif kind == "int32":
        Image.fromarray(ids.astype(np.int32)).save(path)
    elif kind in ("bmp", "tiff"):
        Image.fromarray(ids).save(path)
    elif kind == "webp":
        Image.fromarray(ids).save(path, lossless=True)
    else:
        colours = np.array(palette, np.uint8)[ids]
        if kind == "rgba":
            colours = np.concatenate([colours, np.full_like(colours[..., :1], 255)], axis=2)
        Image.fromarray(colours).save(path)


LABEL_SUFFIX = {"int32": ".tif", "bmp": ".bmp", "tiff": ".tiff", "webp": ".webp"}
