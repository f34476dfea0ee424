"""Meshes and splats in one picture: the shaders against the float64 reference, and what must not change a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.executor import request_device
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.generated import GeneratedLayer
from splatlens.viewer.layout import constant
from splatlens.viewer.mesh import Surface
from splatlens.viewer.mesh_layer import MeshLayer, pack_nodes
from splatlens.viewer.render import Layer, RawLayer, Renderer, render_reference
from splatlens.viewer.sequence import SequenceLayer
from splatlens.viewer.splats import SH_C0, Splats
from tests import mesh_scenes as scenes
from tests.generated_scenes import outputs_of
from tests.mesh_looks import TURNED as TURNED_AXES
from tests.mesh_looks import gaussians_look, light_field_look, look_with, random_network, raw
from tests.mesh_pictures import compared, decibels, meshes_alone
from tests.sequence_scenes import sequence
from tests.twin_scenes import CAMERA, random_splats

INSIDE = Camera.look_at((0.1, 0.05, -0.2), (0.4, 0.2, 1), (0.1, -1, 0), 85, 160, 120)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(request_device(default_limits=True))


def mesh(surfaces: Surface | Sequence[Surface], supersample: int = 1, **look: object) -> MeshLayer:
    """A plain mesh of these surfaces."""
    several = [surfaces] if isinstance(surfaces, Surface) else surfaces
    return MeshLayer(scenes.tree_of(several, scenes.look_of(supersample, **look)))


def placed(layer: MeshLayer, matrix: object, at: object = (0, 0, 0)) -> MeshLayer:
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = matrix, at
    return replace(layer, transform=transform)


TURNED = [[0, -0.7, 0], [0.7, 0, 0], [0, 0, 0.7]]
STRETCHED = [[1.3, 0.2, 0], [0, 0.4, 0], [0.1, 0, 0.8]]
MIRRORED = [[-0.6, 0, 0.2], [0, 0.8, 0], [0.2, 0, 0.6]]


def in_front_and_behind() -> list[Layer]:
    """A sphere in a cloud of splats that reaches before and behind it."""
    return [RawLayer(random_splats(400, 1)), mesh(scenes.sphere(0.6), 2, light="head")]


def hollow() -> list[Layer]:
    """Splats in a box with one side open: what its walls hide, and what is seen through the opening."""
    box = [
        [(-1, -1, -1), (1, -1, -1), (1, -1, 1), (-1, -1, 1)],
        [(-1, 1, -1), (1, 1, -1), (1, 1, 1), (-1, 1, 1)],
        [(-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)],
        [(-1, -1, -1), (-1, 1, -1), (-1, 1, 1), (-1, -1, 1)],
    ]
    walls = [scenes.quad(c, color=(80 + 40 * k, 200 - 40 * k, 90)) for k, c in enumerate(box)]
    turn = [[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]]
    return [placed(mesh(walls, light="head"), turn), RawLayer(random_splats(300, 6, spread=0.9))]


def several_under_transforms() -> list[Layer]:
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]], (0.2, 0.1, -0.3)
    return [
        placed(mesh(scenes.textured_sphere(), filter="linear"), TURNED, (0.6, 0.1, 0.2)),
        RawLayer(random_splats(200, 2), transform=turned),
        placed(mesh([scenes.soup(30, 1), scenes.soup(30, 2)], 2), STRETCHED, (-0.4, 0.3, 0)),
        placed(mesh(scenes.sphere(0.7, channels=6), channels=6, light="head"), MIRRORED, (-0.5, -0.4, 0.4)),
        RawLayer(random_splats(200, 3)),
    ]


def generated_and_moving() -> list[Layer]:
    made = GeneratedLayer(*outputs_of(random_splats(300, 5), "covariances"))
    return [made, mesh(scenes.sphere(0.6), 2), SequenceLayer(sequence("spacetime"), 1.7)]


def empty_texels() -> list[Layer]:
    holed = scenes.holed_quad()
    return [
        mesh(holed, 2, filter="linear", empty=0),
        placed(mesh(holed, 1, filter="nearest", empty=0), TURNED, (0.2, 0, -0.6)),
        RawLayer(random_splats(300, 9)),
    ]


def around_the_camera() -> list[Layer]:
    """A sphere that the camera is in, and triangles that pass through it and the near plane."""
    return [mesh(scenes.sphere(1.2), 2, light="head"), mesh(scenes.soup(40)), RawLayer(random_splats(300, 7))]


def a_floor_under_the_camera() -> list[Layer]:
    """Two triangles of 200 units, from far behind the camera to far ahead."""
    corners = [(-100, 0.4, -100), (100, 0.4, -100), (100, 0.4, 100), (-100, 0.4, 100)]
    floor = scenes.quad(corners, scenes.smooth_texels(512, 512))
    return [mesh(floor, 2, filter="linear"), RawLayer(random_splats(200, 8))]


def every_method() -> list[Layer]:
    """A sphere of each method side by side, twice, in an order that is not the stages', with splats among them."""
    network = random_network(raw(*range(9)), [16, 16], ["relu", "relu", "sigmoid"])
    reflecting = random_network(raw(6, 7, 8, 3, 4, 5), [32], ["relu", "sigmoid"], base=0)
    looks = [
        gaussians_look(2, 17, supersample=2),
        look_with(network, 6, filter="linear", direction=TURNED_AXES),
        light_field_look(8, (16, 16), "linear"),
        scenes.look_of(light="head"),
        look_with(reflecting, 6),
        light_field_look(4, (9, 7), "linear", direction=TURNED_AXES),
        scenes.look_of(2, channels=6, light="head"),
        gaussians_look(1, 10),
    ]
    layers: list[Layer] = []
    for k, look in enumerate(looks):
        made = scenes.textured_sphere if k % 2 else scenes.sphere
        at = (0.8 * (k % 4) - 1.2, 0.8 * (k // 4) - 0.4, 0.2 * (k % 3))
        tree = scenes.tree_of([made(0.5, channels=look.channels)], look)
        layers.append(placed(MeshLayer(tree), STRETCHED if k % 3 else TURNED, at))
    return [*layers, RawLayer(random_splats(200, 10))]


SCENES: dict[str, tuple[list[Layer], Camera, RenderOptions]] = {
    "splats before and behind": (in_front_and_behind(), CAMERA, RenderOptions(background=(0.2, 0.5, 0.9))),
    "splats in a hollow mesh": (hollow(), CAMERA, RenderOptions()),
    "layers under transforms": (several_under_transforms(), CAMERA, RenderOptions()),
    "generated and moving splats": (generated_and_moving(), CAMERA, RenderOptions()),
    "empty texels": (empty_texels(), CAMERA, RenderOptions()),
    "camera inside": (around_the_camera(), INSIDE, RenderOptions()),
    "near plane through it": (around_the_camera(), INSIDE, RenderOptions(near=0.5)),
    "a floor under the camera": (a_floor_under_the_camera(), INSIDE, RenderOptions()),
    "every method": (every_method(), CAMERA, RenderOptions()),
    "off-centre principal point": (
        in_front_and_behind(), replace(CAMERA, cx=31.25, cy=97.5, fx=140.0, fy=118.0), RenderOptions(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENES)
def test_shaders_draw_what_the_reference_draws(renderer: Renderer, name: str) -> None:
    layers, camera, options = SCENES[name]
    result = compared(renderer, layers, camera, options)
    assert result.unsure < 0.02
    assert result.psnr > 75
    assert result.psnr_all > 45
    # Every layer is in the picture.
    for k in range(len(layers)):
        assert decibels(renderer.render(layers[:k] + layers[k + 1 :], camera, options), result.got) < 45


def backdrop(z: float, color: Sequence[float], opacity: float = 0.8) -> RawLayer:
    """A splat that fills the picture at view depth z of CAMERA_AHEAD, flat to 1e-7: its sigma is 4,000 pixels."""
    sh = ((np.array(color) - 0.5) / SH_C0).reshape(1, 1, 3)
    arrays = ([[0, 0, z]], [[1, 0, 0, 0]], [[1e3, 1e3, 1e-3]], [opacity], sh)
    return RawLayer(Splats(*(np.array(a, np.float32) for a in arrays)))


CAMERA_AHEAD = Camera(160, 120, 110.0, 110.0, 80.0, 60.0, np.eye(4))


def test_splats_shine_through_what_a_pixel_leaves_uncovered(renderer: Renderer) -> None:
    ball = mesh(scenes.sphere(1.0, center=(0, 0, 4)), 2)
    behind, before = backdrop(9, (0.2, 0.9, 0.4)), backdrop(1, (0.9, 0.1, 0.3), 0.5)
    alone = renderer.render([ball], CAMERA_AHEAD).astype(np.float64)
    covered = alone[..., 3:]
    assert set(np.unique(covered)) == {0, 0.25, 0.5, 0.75, 1}
    back, front = (renderer.render([layer], CAMERA_AHEAD).astype(np.float64) for layer in (behind, before))
    assert (back[..., 3] > 0.75).all() and (front[..., 3] > 0.45).all()
    want = alone + (1 - covered) * back
    np.testing.assert_allclose(renderer.render([behind, ball], CAMERA_AHEAD), want, rtol=0, atol=1e-6)
    want = front + (1 - front[..., 3:]) * want
    np.testing.assert_allclose(renderer.render([behind, ball, before], CAMERA_AHEAD), want, rtol=0, atol=1e-6)
    # Of several behind one another, too: the second's share is what the first leaves.
    second = backdrop(7, (0.1, 0.3, 0.8), 0.6)
    between = renderer.render([behind, second], CAMERA_AHEAD).astype(np.float64)
    got = renderer.render([behind, second, ball], CAMERA_AHEAD)
    np.testing.assert_allclose(got, alone + (1 - covered) * between, rtol=0, atol=1e-6)


def test_every_method_alone(renderer: Renderer) -> None:
    """Without splats, whose colours are half floats, float32's own rounding is left."""
    meshes = [layer for layer in every_method() if isinstance(layer, MeshLayer)]
    assert compared(renderer, meshes, CAMERA).psnr > 125


def test_a_picture_of_a_mesh_alone(renderer: Renderer) -> None:
    layers = [mesh([scenes.sphere(0.7), scenes.soup(70)], 2)]
    result = compared(renderer, layers, CAMERA, RenderOptions(background=(0.3, 0.6, 0.1)))
    assert result.psnr > 110
    assert 0.05 < (result.got[..., 3] > 0).mean() < 0.5
    nothing = result.got[result.got[..., 3] == 0][:, :3]
    np.testing.assert_allclose(nothing, np.broadcast_to(np.float32([0.3, 0.6, 0.1]), nothing.shape), atol=1e-6)
    for empty in (RawLayer(Splats.empty(3)), RawLayer(random_splats(50, 1).take(slice(0)))):
        np.testing.assert_array_equal(
            renderer.render([empty, *layers], CAMERA, RenderOptions(background=(0.3, 0.6, 0.1))), result.got
        )


def test_splats_without_a_mesh_are_drawn_as_ever(renderer: Renderer) -> None:
    """A mesh that the camera does not see, or that has no triangle, changes no bit; nor do frames with one between."""
    splats = RawLayer(random_splats(300, 1))
    want = renderer.render([splats], CAMERA)
    passes = [p["name"] for p in renderer.prepare([splats], CAMERA, RenderOptions())["passes"]]
    assert "draw" in passes and not [name for name in passes if "mesh" in name or name == "draw_over"]
    behind = mesh(scenes.sphere(0.5, center=(0, 0, -20)))
    assert not meshes_alone([behind], CAMERA).color.any()
    np.testing.assert_array_equal(renderer.render([behind, splats], CAMERA), want)
    assert not np.array_equal(renderer.render([mesh(scenes.sphere(0.5)), splats], CAMERA), want)
    np.testing.assert_array_equal(renderer.render([splats], CAMERA), want)
    bare = Surface(np.zeros((1, 3), np.float32), np.zeros((0, 3), np.int32), values=np.zeros((1, 3), np.uint8))
    np.testing.assert_array_equal(renderer.render([mesh(bare), splats], CAMERA), want)
    np.testing.assert_array_equal(render_reference([mesh(bare), splats], CAMERA), render_reference([splats], CAMERA))
    np.testing.assert_array_equal(render_reference([behind, splats], CAMERA), render_reference([splats], CAMERA))


def test_the_same_bytes_twice_and_wherever_nodes_lie_in_the_pool(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [scenes.sphere(0.6), scenes.soup(70, 1), scenes.textured_sphere(0.4), scenes.soup(130, 2)]
    layers: list[Layer] = [
        mesh(nodes, 2), RawLayer(random_splats(200, 2)), placed(mesh(nodes[::-1]), TURNED, (0.5, 0.2, 0.1)),
    ]  # fmt: skip
    want = renderer.render(layers, CAMERA).tobytes()
    renderer.render(layers, INSIDE)
    assert renderer.render(layers, CAMERA).tobytes() == want

    def scattered(layers: Sequence[MeshLayer], chosen: Sequence[NDArray[np.int64]]) -> object:
        """The nodes in another order, with words of something else between them."""
        draws, words = pack_nodes(layers, chosen)
        starts = np.concatenate([d.at for d in draws])
        ends = np.append(np.sort(starts)[1:], len(words))
        r, pool, moved = np.random.default_rng(1), [np.full(5, 7, np.uint32)], {}
        for k in r.permutation(len(starts)):
            moved[starts[k]] = sum(map(len, pool))
            pool += [words[starts[k] : ends[k]], r.integers(0, 1 << 32, 3, np.uint32)]
        assert [moved[s] for s in starts] != sorted(moved.values())
        return [replace(d, at=np.array([moved[s] for s in d.at])) for d in draws], np.concatenate(pool)

    monkeypatch.setattr("splatlens.viewer.render.pack_nodes", scattered)
    assert renderer.render(layers, CAMERA).tobytes() == want


@pytest.mark.parametrize("at", [(0, 0, 0), (9e4, -7e4, 8e4)])
def test_nodes_meet_without_cracks(renderer: Renderer, at: tuple[float, float, float]) -> None:
    """A sphere cut into 16 nodes at random: seen from inside, all is covered, wherever it lies."""
    whole = scenes.sphere(1.0, 64)
    positions = (whole.positions + np.array(at)).astype(np.float32)
    node = np.random.default_rng(3).integers(0, 16, len(whole.triangles))
    parts = []
    for k in range(16):
        used, corners = np.unique(whole.triangles[node == k], return_inverse=True)
        assert whole.values is not None
        parts.append(Surface(positions[used], corners.reshape(-1, 3).astype(np.int32), values=whole.values[used]))
    layer = placed(mesh(parts, 2), MIRRORED, (0.3, 0.1, -0.2))
    inside = layer.transform @ [at[0] + 0.1, at[1] + 0.2, at[2] + 0.05, 1]
    for forward in ((1, 0.2, 0.1), (-1, 0.3, 0.4), (0.2, -0.1, 1)):
        camera = Camera.look_at(inside[:3], inside[:3] + forward, (0.1, -1, 0), 100, 200, 150)
        assert (renderer.render([layer], camera)[..., 3] == 1).all()


@pytest.mark.parametrize("by_transform", [False, True])
def test_a_mesh_far_from_the_origin_keeps_its_precision(renderer: Renderer, by_transform: bool) -> None:
    """100,000 units away the picture is that of the origin. Vertices on a grid of 1/128 are float32 there, too; the
    camera is not, between them."""
    ball = scenes.textured_sphere(0.8)
    grid = replace(ball, positions=np.round(ball.positions * 128) / np.float32(128))
    far = np.array([1e5, -1e5, 1e5])
    view = CAMERA.world_to_camera.copy()
    view[:3, 3] = -view[:3, :3] @ (CAMERA.position + np.array([0.0031, 0.0017, 0.0029]) + far)
    away = replace(CAMERA, world_to_camera=view)
    view = view.copy()
    view[:3, 3] += view[:3, :3] @ far
    want = renderer.render([mesh(grid, 2, filter="linear")], replace(CAMERA, world_to_camera=view))
    if by_transform:
        layer = placed(mesh(grid, 2, filter="linear"), np.eye(3), far)
    else:
        moved = replace(grid, positions=(grid.positions + far).astype(np.float32))
        np.testing.assert_array_equal(moved.positions.astype(np.float64), grid.positions + far)
        layer = mesh(moved, 2, filter="linear")
    got = compared(renderer, [layer], away)
    assert got.psnr > 100
    assert decibels(got.got[got.sure], want[got.sure]) > 100


def test_within_a_budget_meshes_are_as_coarse_as_their_error_allows(renderer: Renderer) -> None:
    """The root stands for its leaves while its error is under a pixel; here it has other colours than they."""
    leaves = [scenes.textured_sphere(0.6), scenes.wall(0.5)]
    layer = mesh(leaves, filter="linear")
    layers: list[Layer] = [layer, RawLayer(random_splats(100, 1))]
    fine, coarse = (compared(renderer, layers, CAMERA, budget=b) for b in (np.inf, 1e6))
    assert fine.psnr > 75 and coarse.psnr > 75
    assert decibels(fine.got, coarse.got) < 30
    nodes = replace(layer.mesh.nodes, error=np.array([0.1, 0, 0]))  # more than a pixel at four units
    rough = replace(layer, mesh=replace(layer.mesh, nodes=nodes))
    np.testing.assert_array_equal(renderer.render([rough, layers[1]], CAMERA, budget=1e6), fine.got)


def test_half_float_targets_stay_close() -> None:
    half = Renderer(request_device(default_limits=True), exact=False)
    assert half.format == "rgba16float"
    assert compared(half, in_front_and_behind(), CAMERA).psnr > 45


def test_many_blocks_and_layers_of_every_supersampling(renderer: Renderer) -> None:
    """One layer asks for four samples: all are drawn with four, each averaged over its own samples."""
    layers = [mesh(scenes.sphere(0.7, 48), 1), mesh(scenes.soup(400, 2, 1, 0.1), 2), mesh(scenes.soup(100, 3), 1)]
    count = constant("MESH_BLOCK")
    assert len(scenes.sphere(0.7, 48).triangles) > 30 * count
    result = compared(renderer, layers, CAMERA)
    assert result.psnr > 100
    edge = result.got[..., 3]
    assert set(np.unique(edge)) == {0, 0.25, 0.5, 0.75, 1}
    single = [layer for layer in layers if layer.mesh.look.supersample == 1]
    assert set(np.unique(renderer.render(single, CAMERA)[..., 3])) == {0, 1}
