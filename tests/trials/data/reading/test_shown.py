"""Images as a viewer shows them: orientation, transparency, colours, depth, size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from torchvision.transforms import v2

from search_spaces import InputError
from trials.data.reading.images import decode_images, image_sides
from trials.data.reading.shown import fitted


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def shown(*sources, **options):
    return decode_images(
        [(source, f"x{k}") for k, source in enumerate(sources)], len(sources), **options
    )


# --- transparency -----------------------------------------------------------------------------


@pytest.fixture
def glyph():
    """A black bar in the alpha channel alone; what lies under it is black everywhere."""
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:6, 3] = 255
    alpha[2:6, 4] = 128
    return alpha


def forms(alpha):
    """The same glyph in every way in which a file can have transparency."""
    black, mask = np.zeros_like(alpha), Image.fromarray(alpha)
    rgba = Image.fromarray(np.stack([black, black, black, alpha], 2), "RGBA")
    la = Image.fromarray(np.stack([black, alpha], 2), "LA")
    palette = Image.new("P", mask.size, 0)
    palette.putpalette([0, 0, 0] * 3)
    palette.putdata([int(a > 0) + int(a == 255) for a in alpha.ravel()])
    grey = Image.fromarray(np.where(alpha > 0, 0, 7).astype(np.uint8))
    colour = grey.convert("RGB")
    return {
        "RGBA": (encoded(rgba), 3),
        "RGBA in WebP": (encoded(rgba, "WEBP", lossless=True, exact=True), 3),
        "RGBA in TIFF": (encoded(rgba, "TIFF"), 3),
        "LA": (encoded(la), 1),
        "palette": (encoded(palette, transparency=bytes([0, 128, 255])), 3),
        "one transparent grey": (encoded(grey, transparency=7), 1),
        "one transparent colour": (encoded(colour, transparency=(7, 7, 7)), 3),
        "GIF": (encoded(palette, "GIF", transparency=0), 3),
    }


@pytest.mark.parametrize("form", list(forms(np.zeros((2, 2), np.uint8))))
def test_transparent_pixels_show_white(form, glyph):
    source, channels = forms(glyph)[form]
    (image,) = shown(source)
    assert image.shape == (8, 8, channels)
    has_steps = form not in ("one transparent grey", "one transparent colour", "GIF")
    half = 127 if has_steps else 0
    expected = np.where(glyph == 0, 255, np.where(glyph == 255, 0, half))
    np.testing.assert_allclose(image[..., 0], expected, atol=1)


def test_opaque_images_with_an_alpha_channel_stay_as_they_are(random_images):
    pixels = random_images(8, 8, 3)
    with_alpha = Image.fromarray(pixels).convert("RGBA")
    np.testing.assert_array_equal(shown(encoded(with_alpha))[0], pixels)


# --- grey and colour --------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 0), (1, 0, 1), (1, 1, 0), (0, 0, 1)])
def test_grey_images_among_colour_ones_are_converted(order, random_images):
    grey, colour = random_images(8, 8), random_images(8, 8, 3, seed=1)
    files = [encoded(Image.fromarray(grey)), encoded(Image.fromarray(colour))]
    images = shown(*(files[kind] for kind in order))
    for image, kind in zip(images, order, strict=True):
        np.testing.assert_array_equal(image, colour if kind else np.stack([grey] * 3, 2))


def test_channels_that_are_asked_for(random_images):
    grey, colour = (
        encoded(Image.fromarray(i)) for i in (random_images(4, 4), random_images(4, 4, 3))
    )
    assert shown(grey, channels=3).shape == (1, 4, 4, 3)
    with pytest.raises(InputError, match="x0: image is in colour"):
        shown(colour, channels=1)


# --- orientation, colours, depth --------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_honoured(form, orientation):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8], upright[:8, 16:] = (255, 0, 0), (0, 0, 255)
    back = {  # what a camera stores, so that the orientation turns it upright
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(back(upright)))
    options = {"lossless": True} if form == "WEBP" else {"quality": 95} if form == "JPEG" else {}
    source = encoded(stored, form, exif=exif, **options)
    (image,) = shown(source)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 6
    assert image_sides(source, "x") == (16, 24)


def profile_of(gamma_and_primaries="sRGB"):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(gamma_and_primaries)).tobytes()


def test_a_profile_is_converted_to_srgb_and_a_broken_one_ignored(random_images):
    pixels = random_images(16, 16, 3)
    image = Image.fromarray(pixels)
    for profile in (profile_of("sRGB"), b"no profile", b""):
        np.testing.assert_array_equal(shown(encoded(image, icc_profile=profile))[0], pixels)
    lab = ImageCms.createProfile("LAB", 5000)  # belongs to no RGB image, so viewers ignore it
    lab_bytes = ImageCms.ImageCmsProfile(lab).tobytes()
    np.testing.assert_array_equal(shown(encoded(image, icc_profile=lab_bytes))[0], pixels)
    swapped = wide_profile()
    expected = np.asarray(
        ImageCms.profileToProfile(
            image, io.BytesIO(swapped), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    )
    assert np.abs(expected.astype(int) - pixels).mean() > 3  # else the profile says nothing
    for mode in ("RGB", "RGBA"):
        source = encoded(image.convert(mode), icc_profile=swapped)
        np.testing.assert_allclose(shown(source)[0], expected, atol=1)


def wide_profile() -> bytes:
    """sRGB's profile under another name, with the primaries of red and green exchanged."""
    data = bytearray(profile_of("sRGB"))
    count = int.from_bytes(data[128:132], "big")
    tags = {}
    for number in range(count):
        start = 132 + 12 * number
        tags[bytes(data[start : start + 4])] = start
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = (
        data[green + 4 : green + 12],
        data[red + 4 : red + 12],
    )
    text = tags[b"desc"]
    where = int.from_bytes(data[text + 4 : text + 8], "big")
    size = int.from_bytes(data[text + 8 : text + 12], "big")
    block = bytes(data[where : where + size])
    for name in (b"sRGB", "sRGB".encode("utf-16-be")):
        block = block.replace(name, name.swapcase().replace(b"S", b"X").replace(b"s", b"x"))
    data[where : where + size] = block
    return bytes(data)


@pytest.mark.parametrize(("gamma", "brighter"), [(100_000, True), (45_455, False), (30_000, None)])
def test_the_gamma_of_a_png_is_honoured(gamma, brighter):
    ramp = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", gamma.to_bytes(4, "big"))
    for image in (Image.fromarray(ramp), Image.fromarray(ramp).convert("RGB")):
        (found,) = shown(encoded(image, pnginfo=info))
        expected = 255 * (ramp / 255) ** (1 / (2.2 * gamma / 100_000))
        tolerance = 3 if brighter is False else 1  # gamma 1/2.2 is the usual one: nothing changes
        np.testing.assert_allclose(found[..., 0], expected, atol=tolerance)
        assert (found[0, 8, 0] > ramp[0, 8]) == bool(brighter)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_divided_by_257(form):
    ramp = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    (image,) = shown(encoded(Image.fromarray(ramp), form))
    np.testing.assert_array_equal(image[..., 0], np.round(ramp / 257))


def test_more_bits_are_refused():
    image = Image.fromarray(np.ones((4, 4), np.float32))
    with pytest.raises(InputError, match="convert it to 8 bits per channel"):
        shown(encoded(image, "TIFF"))


def test_an_animation_shows_its_first_frame(random_images):
    frames = [Image.fromarray(pixels) for pixels in random_images(3, 8, 8, 3)]
    source = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(shown(source)[0], np.asarray(frames[0]))


# --- size -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(40, 60, 3), (61, 33, 3), (7, 9, 3), (64, 64, 3), (5, 200), (33, 32)], ids=str
)
@pytest.mark.parametrize("size", [16, 33])
def test_resizing_equals_torchvisions_to_the_bit(shape, size, random_images):
    image = Image.fromarray(random_images(*shape))
    expected = v2.Compose([v2.Resize(size), v2.CenterCrop(size)])(image)
    np.testing.assert_array_equal(np.asarray(fitted(image, size)), np.asarray(expected))
    pixels = shown(encoded(image), size=size)[0]
    np.testing.assert_array_equal(pixels.squeeze(), np.asarray(expected))


def test_an_image_that_would_grow_without_bound_is_refused():
    with pytest.raises(InputError, match="too long and narrow for size 512"):
        shown(encoded(Image.new("L", (4000, 1))), size=512)
