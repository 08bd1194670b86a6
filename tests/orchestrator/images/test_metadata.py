import io
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from orchestrator.images import decode, encode, resized
from tests.orchestrator.images import files

GEO: list[tuple[int, int, int, Any, bool]] = [
    (33550, 12, 3, (10.0, 20.0, 0.0), True),
    (33922, 12, 6, (2.0, 3.0, 0.0, 500000.0, 4600000.0, 0.0), True),
    (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    (34737, 2, 8, "WGS 84|", True),
    (42113, 2, 6, "-9999", True),
    (700, 1, 5, b"<xmp>", True),
]
PIXELS = files.samples(8, 9, dtype="float32")


def tags_of(data: bytes) -> dict[int, Any]:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        return {tag.code: tag.value for tag in tiff.pages[0].tags}


def test_a_place_on_the_earth_is_kept_and_scaled_with_the_size() -> None:
    picture = decode(files.tiff_file(PIXELS, photometric="minisblack", extratags=GEO))
    tags = tags_of(encode(picture.pixels, picture))
    for code, _, _, value, _ in GEO:
        assert tags[code] == value
    larger = tags_of(encode(np.zeros((1, 24, 18), np.float32), resized(picture, 24, 18)))
    assert larger[33550] == (5.0, pytest.approx(20 / 3), 0.0)
    assert larger[33922] == (4.0, 9.0, 0.0, 500000.0, 4600000.0, 0.0)
    assert (larger[34735], larger[42113]) == (GEO[2][3], "-9999")
    assert 700 not in larger
    # Cut off at the right and below, no pixel has another size.
    assert tags_of(encode(np.zeros((1, 6, 6), np.float32), resized(picture, 6, 6)))[33550] == GEO[0][3]
    before = decode(files.tiff_file(PIXELS, photometric="minisblack", extratags=GEO), rules=2)
    assert 33550 not in tags_of(encode(before.pixels, before))


@pytest.mark.parametrize("value", [(33550, 2, 3, "abc"), (33550, 12, 1, 1.0), (33922, 3, 7, (1,) * 7), (700, 3, 1, 7)])
def test_tags_of_the_wrong_type_reject_no_picture(value: tuple[int, int, int, Any]) -> None:
    picture = decode(files.tiff_file(PIXELS, photometric="minisblack", extratags=[(*value, True)]))
    assert encode(picture.pixels, picture)
    assert value[0] not in tags_of(encode(np.zeros((1, 16, 18), np.float32), resized(picture, 16, 18)))


def test_ome_xml_of_one_plane_is_kept_where_the_size_stays() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, ome=True) as writer:
        writer.write(PIXELS, metadata={"axes": "YX", "PhysicalSizeX": 0.3, "PhysicalSizeXUnit": "µm"})
    picture = decode(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(encode(picture.pixels, picture))) as tiff:
        assert tiff.is_ome
        assert 'PhysicalSizeX="0.3"' in str(tiff.ome_metadata)
        assert "µm" in str(tiff.ome_metadata)
    assert 270 not in tags_of(encode(np.zeros((1, 16, 18), np.float32), resized(picture, 16, 18)))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_exif_and_xmp_are_kept_where_the_size_stays_without_an_orientation(kind: str) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    exif.get_ifd(0x8769)[33434] = 0.01
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    if kind == "PNG":
        data = files.saved(Image.fromarray(files.samples(8, 9, 3)), kind, exif=exif)
        data = files.with_png_chunk(data, b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp)
    else:
        data = files.saved(Image.fromarray(files.samples(8, 9, 3)), kind, exif=exif, xmp=xmp)
    picture = decode(data)
    restored = Image.open(io.BytesIO(encode(picture.pixels, picture)))
    assert restored.size == (8, 9)
    found = restored.getexif()
    assert (found.get(274), found[271], float(found.get_ifd(0x8769)[33434])) == (None, "Maker", pytest.approx(0.01))
    restored.load()
    assert "xmpmeta" in str(restored.info)
    larger = Image.open(io.BytesIO(encode(np.zeros((3, 18, 16), np.float32), resized(picture, 18, 16))))
    larger.load()
    assert (len(larger.getexif()), "xmpmeta" in str(larger.info)) == (0, False)
    before = decode(data, rules=2)
    assert b"eXIf" not in encode(before.pixels, before)
