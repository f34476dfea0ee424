"""Post-processing networks headless: tiles, padding, seams, several layers, what goes wrong, and the shipped sample."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.contract import ImageSize
from splatlens.viewer.errors import LensError
from splatlens.viewer.executor import request_device
from splatlens.viewer.generator import Model, Moment
from splatlens.viewer.image_tiles import image_lists
from splatlens.viewer.layout import layout
from splatlens.viewer.postprocess import Postprocess, apply, finish
from splatlens.viewer.tiles import spans, tiles
from tests.image_networks import SAMPLE, convolution, network, nothing, sample
from tests.shaders.images import BACKGROUND, prepared, random_picture, run_labels

NODE_SCRIPT = Path(__file__).parent / "js" / "tiles_twin.mjs"
TILED = ImageSize((24, 20), 6)


def camera(picture: NDArray[Any]) -> Camera:
    height, width = picture.shape[:2]
    return Camera(width, height, 50, 50, width / 2, height / 2, np.eye(4))


def opaque(width: int, height: int, seed: int = 1) -> NDArray[np.float32]:
    """(H, W, 4) as the renderer gives it: some values outside of 0 to 1, alpha that says nothing of them."""
    r = np.random.default_rng(seed)
    return r.uniform(-0.1, 1.1, (height, width, 4)).astype(np.float32)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 10, 13, 14, 15, 20, 21, 100])
@pytest.mark.parametrize(("tile", "overlap"), [(8, 0), (8, 2), (8, 3), (9, 4)])
def test_every_pixel_is_taken_of_one_tile_that_holds_it(length: int, tile: int, overlap: int) -> None:
    made = spans(length, tile, overlap)
    assert made[0][1] == 0 and made[-1][2] == length
    assert [first for _, first, _ in made[1:]] == [end for *_, end in made[:-1]]
    assert all(origin <= first < end <= origin + tile for origin, first, end in made)
    assert all(origin + tile <= length for origin, *_ in made) or len(made) == 1
    # Never nearer to an edge that is a seam than half the overlap.
    assert all(end <= origin + tile - overlap // 2 for origin, _, end in made[:-1])
    assert all(first >= origin + overlap // 2 for origin, first, _ in made[1:])
    assert len(made) == (1 if length <= tile else int(np.ceil((length - overlap) / (tile - overlap))))


def test_tiles_as_the_document_says() -> None:
    assert spans(100, 40, 10) == [(0, 0, 35), (30, 35, 65), (60, 65, 100)]
    assert spans(95, 40, 10) == [(0, 0, 35), (30, 35, 62), (55, 62, 95)]
    assert spans(30, 40, 10) == [(0, 0, 30)]
    (one,) = tiles(ImageSize(multiple=8), 33, 16)
    assert (one.origin, one.size, one.first, one.end) == ((0, 0), (40, 16), (0, 0), (33, 16))


def test_the_page_cuts_alike(tmp_path: Path) -> None:
    sizes = [ImageSize(multiple=8), ImageSize(), ImageSize((24, 20), 6), ImageSize((7, 9), 3), ImageSize((64, 64), 0)]
    kinds = [("float32", "float32"), ("float16", "float32"), ("float16", "float16")]
    cases = [
        ([(size, *kinds[(i + k) % 3]) for k, size in enumerate(chosen)], width, height)
        for i, chosen in enumerate([[], *([s] for s in sizes), sizes])
        for width, height in ((1, 1), (33, 17), (101, 64))
    ]
    plain = [
        {
            "layers": [
                {"image": {"size": s.size, "overlap": s.overlap, "multiple": s.multiple}, "given": a, "gives": b}
                for s, a, b in layers
            ],
            "width": width,
            "height": height,
        }
        for layers, width, height in cases
    ]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"layout": layout(), "cases": plain}))
    done = subprocess.run(["node", str(NODE_SCRIPT), str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (layers, width, height), got in zip(cases, json.loads(done.stdout), strict=True):
        lists, made = image_lists(layers, width, height)
        assert got["lists"] == lists
        assert got["tiles"] == [one.tobytes().hex() for one in made]
        assert got["layers"] == [k for k, (size, *_) in enumerate(layers) for _ in tiles(size, width, height)]


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("size", [ImageSize(multiple=16), TILED, ImageSize((80, 70), 8)])
def test_a_network_that_does_nothing_changes_nothing_but_clips(size: ImageSize, kind: str) -> None:
    picture = opaque(53, 31)
    got = apply(network(nothing, size, kind), picture, Moment(), camera(picture))
    want = picture.copy()
    want[..., :3] = np.clip(want[..., :3], 0, 1)
    np.testing.assert_allclose(got[..., :3], want[..., :3], rtol=0, atol=0 if kind == "float32" else 2.5e-4)
    np.testing.assert_array_equal(got[..., 3], picture[..., 3])


def test_seams_do_not_show_where_the_overlap_is_enough() -> None:
    picture = opaque(53, 41)
    whole = apply(network(convolution), picture, Moment(), camera(picture))
    tiled = apply(network(convolution, ImageSize((24, 20), 2)), picture, Moment(), camera(picture))
    without = apply(network(convolution, ImageSize((24, 20), 0)), picture, Moment(), camera(picture))
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-6)
    assert np.abs(without - whole).max() > 1e-2  # and do without any


def test_padding_repeats_the_edge() -> None:
    """Rounded up to the next 16: the convolution sees the edge again, not nothing."""
    picture = np.full((17, 17, 4), 0.5, np.float32)
    got = apply(network(convolution, ImageSize(multiple=16)), picture, Moment(), camera(picture))
    np.testing.assert_allclose(got[16, 8], got[8, 8], rtol=0, atol=1e-6)
    assert np.abs(got[0, 8] - got[8, 8]).max() > 1e-2  # the graph's own zeros


def test_controls_reach_the_network() -> None:
    picture = opaque(20, 20)
    one, two = (
        apply(network(convolution), picture, Moment(controls={"strength": s}), camera(picture)) for s in (1.0, 2.0)
    )
    np.testing.assert_allclose(two[..., :3], 2 * one[..., :3], rtol=0, atol=1e-6)


def test_layers_run_in_order_and_can_be_turned_off() -> None:
    picture, seen = opaque(20, 20), camera(opaque(20, 20))
    half = network(lambda g, image, s: g.op("Mul", image, 0.5))
    up = network(lambda g, image, s: g.op("Add", image, 0.25))
    base = np.clip(picture[..., :3], 0, 1)
    both = finish(picture, [Postprocess(half), Postprocess(up)], seen)
    np.testing.assert_allclose(both[..., :3], 0.5 * base + 0.25, atol=1e-6)
    turned = finish(picture, [Postprocess(up), Postprocess(half)], seen)
    np.testing.assert_allclose(turned[..., :3], 0.5 * np.clip(base + 0.25, 0, 1), atol=0.126)
    assert np.abs(turned - both).max() > 0.1
    off = finish(picture, [Postprocess(half, on=False), Postprocess(up)], seen)
    np.testing.assert_allclose(off[..., :3], base + 0.25, atol=1e-6)
    assert finish(picture, [Postprocess(half, on=False)], seen) is picture


def test_what_is_not_finite_stays_as_it_was_and_is_told() -> None:
    picture, said = opaque(20, 20), []
    dark = network(lambda g, image, s: g.op("Sqrt", g.op("Sub", image, 0.5)))  # NaN below a half
    got = apply(dark, picture, Moment(), camera(picture), said.append)
    base = np.clip(picture[..., :3], 0, 1)
    lost = (base < 0.5).any(axis=2)
    assert 0 < lost.sum() < lost.size
    np.testing.assert_array_equal(got[lost][:, :3], base[lost])
    np.testing.assert_allclose(got[~lost][:, :3], np.sqrt(base[~lost] - 0.5), atol=1e-6)
    assert said == [f"net.onnx: {lost.sum()} of 400 pixels came out not finite and are shown unprocessed"]


def test_other_sizes_and_failures_are_named() -> None:
    picture = opaque(20, 10)
    smaller = network(lambda g, image, s: g.op("AveragePool", image, kernel_shape=[2, 2], strides=[2, 2]))
    with pytest.raises(LensError) as caught:
        apply(smaller, picture, Moment(), camera(picture))
    want = "net.onnx: output 'made': gave [1, 3, 5, 10] for an image of [1, 3, 10, 20]; expected the same shape"
    assert str(caught.value) == f"{want}: mend the model"
    failing = network(lambda g, image, s: g.reshape(image, 1, 3, 7, 7))
    with pytest.raises(LensError, match=r"^net\.onnx: the model failed while it ran: .*[Rr]eshape") as caught:
        apply(failing, picture, Moment(), camera(picture))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "declared", "message"),
    [
        (ImageSize(multiple=8), (1, 3, 24, 20), 'the contract needs "image": {"size": [H, W]} of it'),
        (ImageSize((24, 20)), (1, 3, "h", "w"), 'the contract\'s "image" is to have "multiple", not "size"'),
        (ImageSize((24, 20)), (1, 3, 20, 24), 'the contract needs "image": {"size": [H, W]} of it'),
        (ImageSize(), (1, 4, "h", "w"), "expected [1, 3, H, W], H and W both static or both dynamic"),
        (ImageSize(), (1, 3, 24, "w"), "expected [1, 3, H, W], H and W both static or both dynamic"),
    ],
)
def test_shapes_that_do_not_fit_the_contract(size: ImageSize, declared: tuple[Any, ...], message: str) -> None:
    from splatlens.converters.onnx_graph import Graph
    from tests.image_networks import contract

    g = Graph("net")
    image = g.input("picture", declared)
    g.output(g.op("Add", image, g.op("Mul", g.input("strength", (1,)), g.input("time", (1,)))), "made", declared)
    with pytest.raises(LensError) as caught:
        Model(contract(size), bytes(g.model(contract(size)).SerializeToString()), "net.onnx")
    assert message in str(caught.value)


def test_an_image_of_integers_is_refused() -> None:
    from splatlens.converters.onnx_graph import Graph
    from tests.image_networks import contract

    g = Graph("net")
    image = g.input("picture", (1, 3, "h", "w"), "int32")
    rest = g.op("Mul", g.input("strength", (1,)), g.input("time", (1,)))
    g.output(g.op("Add", g.op("Cast", image, to=1), rest), "made", (1, 3, "h", "w"))
    with pytest.raises(LensError, match=r"^net\.onnx: input 'picture' \(image\): is int32; expected float32 or "):
        Model(contract(ImageSize()), bytes(g.model(contract(ImageSize())).SerializeToString()), "net.onnx")


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("size", [ImageSize(multiple=16), TILED])
def test_the_stages_around_a_network_give_the_headless_picture(size: ImageSize, kind: str) -> None:
    """What the page does, with onnxruntime on what was read back in the place of its network."""
    drawn = random_picture(53, 31)
    model, moment = network(convolution, size, kind), Moment(controls={"strength": 0.7})
    executor, plan, made = prepared(request_device(default_limits=True), drawn, [(size, kind, kind)])
    seen = camera(drawn)
    for i, tile in enumerate(made):
        run_labels(executor, plan, f"image_tensor.{i}")
        w, h = tile["size"].tolist()
        words = executor.read("image_input.0")
        tensor = words.view(kind)[: 3 * w * h].reshape(1, 3, h, w)
        executor.write("image_output.0", model.run(moment, seen, images={"picture": tensor})["made"])
        run_labels(executor, plan, f"image_paint.{i}")
    over = drawn.copy()
    over[..., :3] += (1 - over[..., 3:]) * np.float32(BACKGROUND)
    got = executor.read_texture("image.0")
    got[..., :3] += (1 - got[..., 3:]) * np.float32(BACKGROUND)
    want = apply(model, over, moment, seen)
    assert psnr(got, want) > (120 if kind == "float32" else 65)
    np.testing.assert_array_equal(got[..., 3], drawn[..., 3])
    assert psnr(got, over) < 30  # it does something


def shapes(width: int, height: int) -> NDArray[np.float32]:
    """A picture of coloured discs on a slope of light, edges two pixels wide."""
    r, (y, x) = np.random.default_rng(3), np.mgrid[:height, :width].astype(np.float64)
    picture = np.stack([0.3 + 0.5 * y / height, 0.4 + 0.3 * x / width, 0.6 - 0.3 * y / height, np.ones_like(x)], axis=2)
    for _ in range(14):
        cx, cy, radius = r.uniform(0, width), r.uniform(0, height), r.uniform(6, 40)
        cover = np.clip((radius - np.hypot(x - cx, y - cy)) / 2 + 0.5, 0, 1)[..., None]
        picture[..., :3] += (r.uniform(0, 1, 3) - picture[..., :3]) * cover
    return picture.astype(np.float32)


def test_the_samples_drawing_is_what_it_learnt() -> None:
    """On a picture of another kind than it was trained on; and the same from one piece as from tiles of two sizes."""
    sys.path.insert(0, str(SAMPLE))
    try:
        import networks
    finally:
        sys.path.pop(0)
    picture = shapes(200, 150)
    made = apply(sample("ink"), picture, Moment(), camera(picture))
    wanted = networks.ink(picture[..., :3].transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)
    inner = (slice(8, -8), slice(8, -8))  # at the border the filters go on with the edge, the convolutions with black
    assert psnr(picture[..., :3][inner], wanted[inner]) < 16
    assert psnr(made[..., :3][inner], wanted[inner]) > 25
    whole = apply(sample("ink", ImageSize()), picture, Moment(), camera(picture))
    np.testing.assert_allclose(made, whole, rtol=0, atol=1e-5)
    none = apply(sample("ink"), picture, Moment(controls={"strength": 0}), camera(picture))
    np.testing.assert_array_equal(none, picture)


def test_the_samples_detail_in_one_piece_and_in_tiles() -> None:
    picture = shapes(200, 116)  # even: it works at half the resolution, and tiles at odd places have other halves
    whole = apply(sample("detail"), picture, Moment(), camera(picture))
    tiled = apply(sample("detail", ImageSize((64, 64), 32)), picture, Moment(), camera(picture))
    assert np.abs(whole - picture).max() > 0.02
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)
    for name in ("detail", "ink"):
        assert (SAMPLE / f"{name}.onnx").stat().st_size < 200_000
