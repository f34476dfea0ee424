"""The float64 reference of meshes against geometry done by hand: rays, planes, spheres, single texels and pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from splatlens.viewer import reference
from splatlens.viewer.camera import Camera
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.mesh import Dense, Gaussians, Input, LightField, Look, Network, Plain, Surface, plain_look
from splatlens.viewer.mesh_reference import DrawnMesh, MeshPicture, draw_meshes
from splatlens.viewer.mesh_shade_reference import colors, texels_at
from tests import mesh_scenes as scenes
from tests.twin_scenes import CAMERA, random_splats

#: At the origin, z ahead: a square of 2 x 2 at z = 4 covers the pixels 16..47 of 64.
AHEAD = Camera(64, 64, 64.0, 64.0, 32.0, 32.0, np.eye(4))
INSIDE = Camera.look_at((0.1, 0.05, -0.2), (0.4, 0.2, 1), (0.1, -1, 0), 85, 40, 30)
SQUARE = [(-1, -1, 4), (1, -1, 4), (1, 1, 4), (-1, 1, 4)]
MIRRORED = np.array([[0, -1.2, 0, 0.1], [0.7, 0, 0.1, -0.2], [0, 0.2, -1, 0.3], [0, 0, 0, 1]])


def shown(
    *surfaces: Surface, look: Look | None = None, camera: Camera = AHEAD, near: float = 0.01,
    transform: NDArray[np.float64] | None = None,
) -> MeshPicture:  # fmt: skip
    drawn = DrawnMesh(surfaces, look or scenes.look_of(), np.eye(4) if transform is None else transform)
    return draw_meshes([drawn], camera, RenderOptions(near=near))


def rays_of(camera: Camera, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World origin (3,) and directions (height, width, side * side, 3) of view depth 1, by the OpenCV convention."""
    y, x = np.mgrid[: camera.height * side, : camera.width * side]
    x, y = (x + 0.5) / side, (y + 0.5) / side
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], axis=2)
    rays = rays @ camera.world_to_camera[:3, :3]  # the inverse of a rotation
    parts = rays.reshape(camera.height, side, camera.width, side, 3).swapaxes(1, 2)
    return camera.position, parts.reshape(camera.height, camera.width, side * side, 3)


def nearest_by_planes(
    surface: Surface, transform: NDArray[np.float64], camera: Camera, near: float, side: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Triangle and depth at each sample, triangle after triangle: the ray cuts its plane, the point lies inside."""
    eye, rays = rays_of(camera, side)
    best, depth = np.full(rays.shape[:3], -1), np.full(rays.shape[:3], np.inf)
    corners = surface.positions.astype(np.float64)[surface.triangles] @ transform[:3, :3].T + transform[:3, 3]
    for number, (a, b, c) in enumerate(corners):
        normal = np.cross(b - a, c - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = normal @ (a - eye) / (rays @ normal)
        point = eye + rays * z[..., None]
        inside = np.ones(z.shape, bool)
        for p, q in ((a, b), (b, c), (c, a)):
            inside &= np.cross(np.broadcast_to(q - p, point.shape), point - p) @ normal >= 0
        take = inside & (z > near) & (z < depth)
        best[take], depth[take] = number, z[take]
    return best, depth


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("transform", [np.eye(4), MIRRORED], ids=["plain", "mirrored"])
@pytest.mark.parametrize(("camera", "near"), [(CAMERA.resized(40, 30), 0.01), (INSIDE, 0.01), (INSIDE, 0.4)])
def test_each_sample_sees_the_triangle_that_its_ray_meets_first(
    camera: Camera, near: float, transform: NDArray[np.float64], side: int
) -> None:
    surface = scenes.soup(80)
    got = shown(surface, look=scenes.look_of(side), camera=camera, near=near, transform=transform)
    best, depth = nearest_by_planes(surface, transform, camera, near, side)
    assert (best >= 0).mean() > 0.1
    np.testing.assert_array_equal(got.samples.triangle, best)
    np.testing.assert_allclose(got.samples.depth, depth, rtol=1e-9)
    np.testing.assert_allclose(got.front, depth.min(axis=2), rtol=1e-9)
    np.testing.assert_array_equal(got.color[..., 3], (best >= 0).mean(axis=2))


def test_texels_stand_where_the_square_has_them() -> None:
    """x right, y down, each texel 4 x 4 pixels: the picture is the texture, from either side."""
    texels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    square = scenes.quad(SQUARE, texels)
    want = np.kron(texels / 255, np.ones((4, 4, 1)))
    for look in (scenes.look_of(filter="nearest"), scenes.look_of(2, filter="nearest")):
        got = shown(square, look=look)
        np.testing.assert_allclose(got.color[16:48, 16:48, :3], want, atol=1e-12)
        assert got.color[..., 3].sum() == 32 * 32 and got.color[16:48, 16:48, 3].all()
        np.testing.assert_allclose(got.front[16:48, 16:48], 4)
        turned = replace(square, triangles=square.triangles[:, ::-1])
        np.testing.assert_allclose(shown(turned, look=look).color, got.color, atol=1e-12)
    assert np.isinf(got.front[0, 0])


def test_linear_texels_meet_half_way_and_leave_out_empty_ones() -> None:
    texels = np.array([[[10, 1], [50, 1]], [[90, 0], [250, 1]]], np.uint8)
    surface = scenes.quad(SQUARE, texels)
    uv = np.array([(0.5, 0.5), (1.0, 0.5), (0.75, 0.5), (1.0, 1.0), (-3, 0.5), (1.5, 9), (0.75, 0.75)])
    plain = [10, 30, 20, 100, 10, 250, 0.5625 * 10 + 0.1875 * (50 + 90) + 0.0625 * 250]
    np.testing.assert_allclose(texels_at(surface, uv, "linear", None)[:, 0], plain)
    rest = [10, 30, 20, (10 + 50 + 250) / 3, 10, 250, (0.5625 * 10 + 0.1875 * 50 + 0.0625 * 250) / 0.8125]
    np.testing.assert_allclose(texels_at(surface, uv, "linear", 1)[:, 0], rest)
    nearest = [10, 50, 10, 250, 10, 250, 10]
    np.testing.assert_array_equal(texels_at(surface, uv, "nearest", None)[:, 0], nearest)


def test_empty_texels_show_what_is_behind() -> None:
    texels = np.full((8, 8, 3), 200, np.uint8)
    texels[2:5, 3:7, 1] = 0
    behind = scenes.quad([(x, y, 6) for x, y, _ in np.array(SQUARE) * 2], color=(10, 20, 30))
    got = shown(scenes.quad(SQUARE, texels), behind, look=scenes.look_of(empty=1, filter="linear"))
    hole = np.zeros((64, 64), bool)
    hole[16 + 4 * 2 : 16 + 4 * 5, 16 + 4 * 3 : 16 + 4 * 7] = True
    np.testing.assert_allclose(got.front[hole], 6)
    np.testing.assert_allclose(got.color[hole], np.broadcast_to([10 / 255, 20 / 255, 30 / 255, 1], (192, 4)))
    np.testing.assert_allclose(got.front[16:48, 16:48][~hole[16:48, 16:48]], 4)
    # Nothing of the empty texels' own bytes bleeds over the hole's rim.
    np.testing.assert_allclose(got.color[16:48, 16:48, 1][~hole[16:48, 16:48]], 200 / 255)


def test_a_sphere_is_round_where_it_is_and_as_near_as_it_is() -> None:
    center, radius = np.array([0.4, -0.3, 5.0]), 1.3
    ball = scenes.sphere(radius, 256, center)
    got = shown(ball, look=scenes.look_of(2))
    _, rays = rays_of(AHEAD, 2)
    b, square = rays @ center, (rays**2).sum(axis=3)
    inner = b**2 - square * (center @ center - radius**2)
    sure = np.abs(inner) > 0.05  # the polyhedron is at most 1e-4 smaller than the sphere
    hit = inner > 0
    np.testing.assert_array_equal((got.samples.triangle >= 0)[sure], hit[sure])
    z = (b - np.sqrt(np.where(hit, inner, 0))) / square
    np.testing.assert_allclose(got.samples.depth[hit & sure], z[hit & sure], atol=1e-3)
    # Channels are the normal: red grows to the right, green downwards, blue away from the camera.
    whole = (hit & sure).all(axis=2)
    normal = ((rays * z[..., None] - center) / radius)[whole].mean(axis=1)
    np.testing.assert_allclose(got.color[whole][:, :3], (normal + 1) / 2, atol=0.01)


def test_a_plane_from_behind_the_camera_to_the_horizon() -> None:
    floor = scenes.quad([(-1e4, 0.5, -1e4), (1e4, 0.5, -1e4), (1e4, 0.5, 1e4), (-1e4, 0.5, 1e4)])
    got = shown(floor, near=1.25)
    y = np.arange(64) + 0.5
    slope = (y - 32) / 64
    with np.errstate(divide="ignore"):
        want = np.where(slope > 0, 0.5 / slope, np.inf)
    want[want < 1.25] = np.inf  # nearer than the near plane
    np.testing.assert_allclose(got.front, np.broadcast_to(want[:, None], (64, 64)))
    assert np.isinf(want[:32]).all() and np.isinf(want[-1]) and np.isfinite(want[32:50]).all()


def test_four_samples_are_averaged_over_those_that_see_the_layer() -> None:
    """A pixel of which a quarter is one layer, half another: colours are each layer's own, shares the samples'."""
    # Their common edges lie at x = y = 32 of the picture; the camera puts that into the middle of pixel 31.
    red = scenes.quad([(-1, -1, 4), (0, -1, 4), (0, 0, 4), (-1, 0, 4)], color=(200, 0, 0))
    blue = scenes.quad([(0, -1, 4), (1, -1, 4), (1, 1, 4), (0, 1, 4)], color=(0, 0, 100))
    meshes = [DrawnMesh([s], scenes.look_of(2), np.eye(4)) for s in (red, blue)]
    got = draw_meshes(meshes, replace(AHEAD, cx=31.5, cy=31.5)).color[31, 31]
    np.testing.assert_allclose(got, [0.25 * 200 / 255, 0, 0.5 * 100 / 255, 0.75])


def test_the_first_of_equal_depths_is_seen() -> None:
    one, two = (scenes.quad(SQUARE, color=c) for c in ((100, 0, 0), (0, 100, 0)))
    assert shown(one, two).color[32, 30, 0] > 0
    meshes = [DrawnMesh([s], scenes.look_of(), np.eye(4)) for s in (two, one)]
    assert draw_meshes(meshes, AHEAD).color[32, 30, 1] > 0


def test_how_sure_a_sample_is() -> None:
    """The distance to the boundary in pixels, the share of the depth to the next surface, that to the next texel."""
    right = (48.52 - 32) / 64 * 4  # the edge lies 0.02 pixel right of the centres of column 48
    square = scenes.quad([(-1, -1, 4), (right, -1, 4), (right, 1, 4), (-1, 1, 4)])
    farther = scenes.quad([(x, y, 4 + 2**-15) for x, y, _ in SQUARE])
    got = shown(square, farther).samples
    np.testing.assert_allclose(got.edge[20:40, 48], 0.02, rtol=1e-4)
    assert np.isinf(got.edge[20, 40]) and got.triangle[20, 48] >= 0 > got.triangle[20, 49]
    np.testing.assert_allclose(got.gap[20, 30], 2**-17)
    assert np.isinf(got.gap[20, 48]) and np.isinf(got.texel).all()
    # An edge before what is seen is one that could be seen; one behind it says nothing.
    just_past = scenes.quad([(right - 0.04 / 16, -1, 3.9), (2, -1, 3.9), (2, 1, 3.9), (right - 0.04 / 16, 1, 3.9)])
    assert shown(square, just_past).samples.edge[20, 48] < 0.06
    assert np.isinf(shown(square, scenes.wall(3, 3)).samples.edge[20, 48])
    fine = np.array(SQUARE) - [0.001, 0, 0]  # two texels a pixel, moved by 0.016 pixel
    got = shown(scenes.quad(fine, np.full((64, 64, 3), 9, np.uint8)), look=scenes.look_of(filter="nearest")).samples
    np.testing.assert_allclose(got.texel[20, 30], 0.0, atol=1e-6)  # along y a texel's border
    fine[:, 1] += 0.004
    got = shown(scenes.quad(fine, np.full((64, 64, 3), 9, np.uint8)), look=scenes.look_of(filter="nearest")).samples
    np.testing.assert_allclose(got.texel[20, 30], 0.032, rtol=1e-3)


def test_surfaces_without_triangles_show_nothing() -> None:
    bare = Surface(np.zeros((1, 3), np.float32), np.zeros((0, 3), np.int32), values=np.zeros((1, 3), np.uint8))
    for got in (shown(bare), shown(), draw_meshes([], AHEAD), shown(bare, look=scenes.look_of(2))):
        assert not got.color.any() and np.isinf(got.front).all()
    both = draw_meshes([DrawnMesh([s], scenes.look_of(), np.eye(4)) for s in (bare, scenes.wall(4))], AHEAD)
    assert both.color[..., 3].sum() == 32 * 32


def random_dense(inputs: int, outputs: int, activation: str, seed: int) -> Dense:
    kernel, bias = np.split(np.random.default_rng(seed).normal(size=(inputs + 1, outputs)).astype(np.float32), [inputs])
    return Dense(kernel, bias[0], activation)


def scalar(activation: str, x: float) -> float:
    return {"none": x, "relu": max(x, 0.0), "sigmoid": 1 / (1 + math.exp(-x))}[activation]


def test_a_network_is_what_its_layers_say() -> None:
    inputs = (Input(4), Input(0, 2.0, 0.5), Input(6), Input(7, 3.0), Input(5))
    layers = (random_dense(5, 7, "relu", 1), random_dense(7, 3, "sigmoid", 2))
    look = Look(5, Network(inputs, layers, base=1), np.ones(5, np.float32), np.zeros(5, np.float32))
    channels, direction = np.random.default_rng(3).uniform(-1, 1, (4, 5)), np.random.default_rng(4).normal(size=(4, 3))
    got = colors(look, channels, direction, direction)
    for i in range(4):
        given = [*channels[i], *direction[i]]
        values = [given[4], math.sin(2 * given[0] + 0.5), given[6], math.sin(3 * given[7]), given[5]]
        for layer in layers:
            kernel, bias = layer.kernel.tolist(), layer.bias.tolist()
            values = [
                scalar(layer.activation, sum(v * row[k] for v, row in zip(values, kernel, strict=True)) + bias[k])
                for k in range(len(bias))
            ]
        want = [min(max(v + channels[i, 1 + k], 0), 1) for k, v in enumerate(values)]
        np.testing.assert_allclose(got[i], want, rtol=1e-12)
    assert (got == 1).any() and ((got > 0) & (got < 1)).any()


def test_gaussians_add_their_lobes() -> None:
    channels = np.array([[0.1, 0.2, 0.3, 0, 0, 2.0, 5.0, 0.5, 0.6, 0.7, 3.0, 4.0, 0, 1.0, 0.9, 0.1, 0.2]])
    look = Look(17, Gaussians(2), np.ones(17, np.float32), np.zeros(17, np.float32))
    direction = np.array([[0.6, 0.0, 0.8]])
    one, two = math.exp(5 * (0.8 - 1)), math.exp(0.6 * 0.6 - 1)
    want = [0.1 + 0.5 * one + 0.9 * two, 0.2 + 0.6 * one + 0.1 * two, 0.3 + 0.7 * one + 0.2 * two]
    np.testing.assert_allclose(colors(look, channels, direction, direction)[0], want)


@pytest.mark.parametrize(
    ("direction", "row", "column"),
    [
        ((1, 0.1, 0), 0, 0), ((0.1, 1, 0.01), 0, 1), ((-1, 0.1, 0.01), 0, 3), ((0.1, -1, 0.2), 0, 6),
        ((0.2, 0.1, 1), 1, 0), ((1, 0.1, -0.2), 7, 0), ((0.2, 0.1, -1), 6, 0),
    ],
)  # fmt: skip
def test_a_light_field_looks_its_direction_up(direction: tuple[float, ...], row: int, column: int) -> None:
    """Azimuth from x to y along x, elevation along y, of a map of 8 x 8: below the horizon from the far end."""
    texels = np.random.default_rng(1).integers(0, 256, (8, 8, 4), np.uint8)
    scale, offset = np.float32([2, 1, 3, 1]), np.float32([-1, 0, -2, 0.5])
    method = LightField(4, texels, scale, offset)
    look = Look(12, method, np.ones(12, np.float32), np.zeros(12, np.float32))
    channels = np.random.default_rng(2).normal(size=(1, 12))
    vector = np.array([direction]) / np.linalg.norm(direction)
    b = texels[row, column] / 255 * scale + offset
    want = [scalar("sigmoid", float(channels[0, k : k + 4] @ b)) for k in (0, 4, 8)]
    np.testing.assert_allclose(colors(look, channels, vector, vector)[0], want, rtol=1e-6)
    smooth = replace(look, method=replace(method, filter="linear", directions=np.full_like(texels, 77)))
    flat = np.full(4, 77) / 255 * scale + offset
    want = [scalar("sigmoid", float(channels[0, k : k + 4] @ flat)) for k in (0, 4, 8)]
    np.testing.assert_allclose(colors(smooth, channels, vector, vector)[0], want, rtol=1e-6)


def test_light_from_the_eye_falls_by_the_cosine() -> None:
    normal, direction = np.array([[0, 0, -2.0], [3, 0, 0], [0, 0, 0]]), np.array([[0, 0, 1.0]] * 3)
    channels = np.array([[0.5, 1, 0.2]] * 3)
    look = replace(plain_look(), method=Plain("head"))
    want = channels * [[1.0], [0.3], [1.0]]
    np.testing.assert_allclose(colors(look, channels, direction, normal), want)
    own = np.concatenate([channels, [[0, 0.6, -0.8]] * 3], axis=1)
    got = colors(plain_look(6, "head"), own, direction, normal)
    np.testing.assert_allclose(got, channels * (0.3 + 0.7 * 0.8))
    np.testing.assert_allclose(colors(plain_look(), channels, direction, normal), channels)


def test_directions_are_the_layers_own_and_turned_by_the_look() -> None:
    """A network that hands its direction on: from the camera to the point, before the layer's transform."""
    turn = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
    half = Dense(np.eye(3, dtype=np.float32) / 2, np.full(3, 0.5, np.float32), "none")
    method = Network(tuple(Input(3 + k) for k in range(3)), (half,))
    look = Look(3, method, np.ones(3, np.float32), np.zeros(3, np.float32), direction=turn)
    got = shown(scenes.soup(200), look=look, camera=CAMERA, transform=MIRRORED)
    eye, rays = rays_of(CAMERA, 1)
    seen = got.color[..., 3] > 0
    point = eye + rays[seen][:, 0] * got.front[seen][:, None]
    inverse = np.linalg.inv(MIRRORED)
    local = (point - eye) @ inverse[:3, :3].T
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    want = 0.5 + 0.5 * np.stack([local[:, 1], -local[:, 2], local[:, 0]], axis=1)
    np.testing.assert_allclose(got.color[seen][:, :3], want, atol=1e-9)


def test_splats_are_before_or_behind_by_their_centre() -> None:
    """Pixel by pixel, splat by splat: those behind first, then the mesh over them, then those before it."""
    r = np.random.default_rng(2)
    splats, camera = random_splats(60, 4, size=0.2), CAMERA.resized(24, 18)
    projection = reference.project(splats, camera)
    covered = r.integers(0, 5, (18, 24)) / 4
    mesh = np.concatenate([r.uniform(0, 1, (18, 24, 3)) * covered[..., None], covered[..., None]], axis=2)
    front = np.where(covered > 0, r.uniform(3, 5, (18, 24)), np.inf)
    front[0, 0] = projection.depth[30]
    options = RenderOptions(background=(0.2, 0.4, 0.6))
    got = reference.blend([projection], camera, options, (mesh, front))
    for y in range(18):
        for x in range(24):
            behind, before = np.zeros(4), np.zeros(4)
            for k in range(len(projection.depth))[::-1]:
                a, b, c = projection.cov[k]
                dx, dy = x + 0.5 - projection.center[k, 0], y + 0.5 - projection.center[k, 1]
                power = 0.5 * (c * dx * dx - 2 * b * dx * dy + a * dy * dy) / (a * c - b * b)
                alpha = min(options.alpha_cap, projection.opacity[k] * math.exp(-power))
                if alpha < 1 / 255:
                    continue
                source = np.array([*projection.color[k], 1.0])
                if np.float32(projection.depth[k]) > np.float32(front[y, x]):
                    behind = alpha * source + (1 - alpha) * behind
                else:
                    before = alpha * source + (1 - alpha) * before
            scene = mesh[y, x] + (1 - covered[y, x]) * behind
            want = before + (1 - before[3]) * scene
            want[:3] += (1 - want[3]) * np.array(options.background)
            np.testing.assert_allclose(got[y, x], want, atol=1e-6)
