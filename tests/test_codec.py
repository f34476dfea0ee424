"""The codec: what comes back is within stated steps, damage is refused, and JavaScript decodes to the same words."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.viewer import codec
from splatlens.viewer.codec_payload import CLUSTER
from splatlens.viewer.errors import FormatError
from splatlens.viewer.layer_codec import COLOR_UNIT, MAX_SHIFT, SCALE_STEPS, log2_index, scale_code, scale_index
from splatlens.viewer.layout import constant
from splatlens.viewer.quantise import COLOR_AXES, rotation_parameters
from splatlens.viewer.splats import Splats, covariances, rotation_matrices
from tests.codec_scenes import Encoded, Page, decode, encode, random_splats, round_trip, spans


def splats_of(n: int = 1, degree: int = 0, **fields: Any) -> Splats:
    """n plain splats with some fields given."""
    plain = {
        "means": np.zeros((n, 3)), "quats": np.tile([1.0, 0, 0, 0], (n, 1)), "scales": np.full((n, 3), 0.1),
        "opacities": np.full(n, 0.5), "sh": np.zeros((n, (degree + 1) ** 2, 3)),
    }  # fmt: skip
    return Splats(*(np.ascontiguousarray({**plain, **fields}[k], np.float32) for k in plain))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rows_come_back_within_their_steps(degree: int) -> None:
    """Every quantity within half of the step that its row's importance gave it."""
    splats = random_splats(np.random.default_rng(degree), 3000, degree)
    encoded = encode(splats, *spans(3000))
    q, got = encoded.quantised, decode(encoded)
    want = splats.take(q.order)
    assert sorted(q.order) == list(range(3000))
    cluster = np.repeat(np.arange(len(q.first)), q.count)

    step = np.exp2(q.position_exponent.astype(float))[cluster][:, None]
    assert (np.abs(got.means.astype(float) - want.means) <= 0.5 * step + 1e-6 * np.abs(want.means)).all()

    assert np.abs(np.sqrt(got.opacities) - np.sqrt(want.opacities)).max() <= 0.51 * encoded.codec.opacity_step
    sizes = np.sort(want.scales, axis=1)[:, ::-1]
    off = np.abs(np.log2(got.scales / sizes))
    # Steps of the largest: 1/16 octave at the knee, up to 1 two octaves and more of it further down.
    assert off[:, 0].max() <= 0.51
    assert off[sizes[:, 0] >= np.exp2(encoded.codec.knee / SCALE_STEPS), 0].max() <= 0.51 / SCALE_STEPS
    assert (np.diff(got.scales, axis=1) <= 0).all()

    own, true = rotation_matrices(got.quats.astype(float))[:, :, 0], rotation_matrices(want.quats.astype(float))
    longest = np.take_along_axis(true, np.argmax(want.scales, axis=1)[:, None, None], axis=2)[:, :, 0]
    angle = np.arccos(np.minimum(np.abs((own * longest).sum(axis=1)), 1))
    needles = sizes[:, 0] > 4 * sizes[:, 1]
    assert np.quantile(angle[needles], 0.99) < 0.08
    assert np.quantile(angle, 0.99) < 0.35

    dc = np.abs((got.sh[:, 0] - want.sh[:, 0]).astype(float) @ COLOR_AXES.T)
    assert dc.max() <= COLOR_UNIT * 2.0 ** MAX_SHIFT["color"] / 2
    assert np.sqrt((dc**2).mean()) < 0.06
    if degree:
        off = np.sqrt(((got.sh[:, 1:] - want.sh[:, 1:]) ** 2).mean())
        assert off < 0.04
    assert got.sh.shape == want.sh.shape


def test_covariances_come_back() -> None:
    """Rotation and scales together: the covariance is near in every direction, whatever the order of the axes was."""
    want, got = round_trip(random_splats(np.random.default_rng(5), 2000, 0))
    a, b = covariances(want), covariances(got)
    distance = np.linalg.norm(a - b, axis=(1, 2)) / np.linalg.norm(a, axis=(1, 2))
    # Median 7%, mostly of the largest scale's step; small and faint splats are allowed more.
    assert np.median(distance) < 0.12
    assert np.quantile(distance, 0.99) < 0.8


def test_all_axis_orders_and_half_turns() -> None:
    """Rotations with w = 0 and each permutation of axes are the same ellipsoids."""
    quats = np.concatenate([np.eye(4), -np.eye(4), [[0, 0.6, 0.8, 0], [0, -0.6, 0, 0.8], [0.5, -0.5, 0.5, -0.5]]])
    sizes = np.array([[4, 2, 1], [1, 2, 4], [2, 4, 1], [4, 1, 2]]) * 0.1
    n = len(quats) * len(sizes)
    want, got = round_trip(splats_of(n, quats=np.repeat(quats, 4, axis=0), scales=np.tile(sizes, (len(quats), 1))))
    relative = np.abs(covariances(want) - covariances(got)).max(axis=(1, 2)) / 0.16
    assert relative.max() < 0.15


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257])
def test_equal_splats_and_small_clusters(n: int) -> None:
    splat = splats_of(n, 3, means=np.full((n, 3), 1234.5), sh=np.full((n, 16, 3), 0.25))
    want, got = round_trip(splat)
    assert np.array_equal(want.means, got.means)
    assert np.abs(got.sh - 0.25).max() < 0.03
    assert np.ptp(got.sh, axis=0).max() == 0


def test_opacity_from_none_to_merged() -> None:
    opacities = np.array([0, 1e-7, 1 / 255, 0.5, 1, 3, 8])
    want, got = round_trip(splats_of(7, opacities=opacities))
    assert got.opacities[want.opacities == 0] == 0
    assert (got.opacities[want.opacities > 0] > 0).all()
    assert np.abs(np.sqrt(got.opacities) - np.sqrt(want.opacities)).max() < 0.02


def test_tiny_and_huge_sigma_in_one_cluster() -> None:
    """1e-6 and 1e6 side by side: the huge one keeps its size, the tiny ones their places."""
    scales = np.array([[1e-6] * 3, [1e6] * 3, [1e-6, 1e-6, 1e-3]])
    means = np.array([[1.0, 2, 3], [-5e5, 0, 5e5], [1.001, 2, 3]])
    want, got = round_trip(splats_of(3, means=means, scales=scales))
    off = np.abs(np.log2(got.scales.max(axis=1) / want.scales.max(axis=1)))
    assert off.max() <= 0.51
    # A step of a quarter of the median sigma needs more than 16 bits here: centres stay float32.
    assert np.array_equal(got.means, want.means)


def test_far_outlier_takes_two_slots() -> None:
    """Positions that need more than 39 bits are float32 in a second slot; encoder and decoder agree."""
    taken = []
    for distance in 2.0 ** np.arange(1, 7, 0.25):
        means = np.random.default_rng(0).uniform(0, 1, (256, 3))
        means[0] = distance, 0.8 * distance, 0.5 * distance
        splats = splats_of(256, means=means, scales=np.full((256, 3), 0.05))
        encoded = encode(splats, *spans(256))
        page, q = encoded.pages[0], encoded.quantised
        geometry = codec.decode_geometry(zlib.decompress(page.geometry.data), page.counts, encoded.codec)
        assert geometry.slots.tolist() == q.slots.tolist()
        assert len(geometry.words) == q.slots[0] * constant("SLOT_WORDS")
        off = np.abs(decode(encoded).means - splats.take(q.order).means)
        assert off.max() <= 0.5 * 2.0 ** q.position_exponent[0] * 1.001
        taken.append((int(q.slots[0]), bool(q.exact[0]), int(np.frexp(q.position.max(axis=0))[1].sum())))
    assert {bits for slots, _, bits in taken if slots == 1} >= {37, 38, 39}
    assert {bits for slots, exact, bits in taken if slots == 2 and not exact} >= {40, 41}


def test_steps_of_positions_stay_within_a_quarter_of_the_median_sigma() -> None:
    rng = np.random.default_rng(8)
    splats = random_splats(rng, 2560, 0)
    factor = np.exp2(np.repeat(rng.uniform(-12, 12, 10), 256))[:, None]
    splats = dataclasses.replace(splats, scales=(splats.scales * factor).astype(np.float32))
    q = encode(splats, *spans(2560)).quantised
    ordered = np.sort(splats.scales.astype(float), axis=1)
    sigma = np.median(np.sqrt(ordered[:, 1] * ordered[:, 2]).reshape(10, 256), axis=1)
    assert (np.exp2(q.position_exponent[~q.exact]) <= 0.2501 * sigma[~q.exact]).all()
    assert q.exact.any()
    assert not q.exact.all()


@pytest.mark.parametrize("size", [50, -50])
def test_sh_of_fifty(size: float) -> None:
    """A splat with wild SH among tame ones: all errors stay within the steps of their cluster."""
    rng = np.random.default_rng(2)
    sh = rng.normal(0, 0.1, (300, 16, 3))
    sh[7] = size
    want, got = round_trip(splats_of(300, 3, sh=sh, means=rng.normal(size=(300, 3))))
    wild = np.flatnonzero(np.abs(want.sh).max(axis=(1, 2)) > 10)
    assert np.abs(got.sh[wild] - want.sh[wild]).max() < 1.5
    assert np.abs(got.sh - want.sh).max() < 1.5


def test_coarser_clusters_are_shorter() -> None:
    splats = random_splats(np.random.default_rng(1), 4096, 3)
    fine = encode(splats, *spans(4096))
    coarse = encode(splats, *spans(4096), np.full(16, 2))
    assert coarse.size < 0.85 * fine.size
    off = [np.abs(decode(e).means - splats.take(e.quantised.order).means).mean() for e in (fine, coarse)]
    assert off[1] > 1.5 * off[0]


def test_streams_are_single_bounded_and_repeatable() -> None:
    splats = random_splats(np.random.default_rng(3), 5000, 2)
    first, again = (encode(splats, *spans(5000)) for _ in range(2))
    for page, other in zip(first.pages, again.pages, strict=True):
        limits = codec.max_payload_length(page.counts, 2)
        for block, twin, limit in zip((page.geometry, page.sh), (other.geometry, other.sh), limits, strict=True):
            assert block is not None
            assert block == twin
            stream = zlib.decompressobj()
            assert len(stream.decompress(block.data)) == block.decoded_length <= limit
            assert stream.eof
            assert not stream.unused_data


def test_clusters_must_cover_the_rows() -> None:
    splats = random_splats(np.random.default_rng(3), 600, 0)
    own = codec.fit_layer_codec(splats)
    for first, count in (([0, 256], [256, 256]), ([0], [600]), ([0, 100], [256, 344])):
        with pytest.raises(ValueError, match="rows"):
            codec.quantise_clusters(splats, np.array(first), np.array(count), np.zeros(len(first)), own)


def test_scale_codes_are_a_ladder() -> None:
    codes = np.arange(-200, 100, dtype=np.int32)
    index = scale_index(codes, 17)
    steps = np.diff(index)
    assert sorted(set(steps)) == [1, 2, 4, 8, 16]
    assert (np.diff(steps) <= 0).all()
    assert np.array_equal(scale_code(index.astype(float), 17), codes)


def test_rotations_take_the_least_turns() -> None:
    """Flipped axes keep the parameters of a rotation within sqrt(1/2), which their fields are made for."""
    quats = np.random.default_rng(9).normal(size=(5000, 4))
    frames = rotation_matrices(quats / np.linalg.norm(quats, axis=1, keepdims=True))
    turn, roll = rotation_parameters(frames)
    assert np.hypot(*turn.T).max() <= 0.5**0.5 + 1e-9
    assert np.abs(roll).max() <= 0.5**0.5 + 1e-9
    assert np.abs(roll).max() > 0.7


def test_integer_logarithm() -> None:
    roots = np.arange(1, 256, dtype=np.int32)
    assert np.abs(log2_index(roots) - 16 * np.log2(roots)).max() < 2.3
    assert log2_index(np.array([0, 1, 2, 64], np.int32)).tolist() == [0, 0, 16, 96]


# --- damage


@pytest.fixture(scope="module")
def sample() -> Encoded:
    return encode(random_splats(np.random.default_rng(11), 1500, 3), *spans(1500, 200))


def _payloads(encoded: Encoded) -> tuple[Page, bytes, bytes, np.ndarray]:
    page = encoded.pages[0]
    assert page.sh is not None
    geometry, sh = zlib.decompress(page.geometry.data), zlib.decompress(page.sh.data)
    return page, geometry, sh, codec.decode_geometry(geometry, page.counts, encoded.codec).classes


def test_wrong_lengths_are_refused(sample: Encoded) -> None:
    page, geometry, sh, classes = _payloads(sample)
    for bad in (b"", geometry[:3], geometry[:100], geometry[:-1], geometry + b"\0"):
        with pytest.raises(FormatError, match="bytes"):
            codec.decode_geometry(bad, page.counts, sample.codec)
    for bad in (b"", sh[:10], sh[:-1], sh + b"\0"):
        with pytest.raises(FormatError, match="bytes of SH"):
            codec.decode_sh(bad, page.counts, classes, sample.codec)
    with pytest.raises(FormatError, match="classes"):
        codec.decode_sh(sh, page.counts, classes[:-1], sample.codec)
    for counts in ([], [0, 3], [257], [-1]):
        with pytest.raises(FormatError, match="1 to 256"):
            codec.decode_geometry(geometry, counts, sample.codec)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("flags", 3, "flags"),
        ("flags", 8, "flags"),
        ("position_exponent", 101, "position exponents"),
        ("position_exponent", -101, "position exponents"),
        ("color_exponent", 41, "colour exponents"),
        ("coarse", 17, "coarse"),
        ("sh_exponent", 25, "SH exponents"),
        ("reserved", 1, "reserved"),
        ("origin", np.nan, "finite origins"),
        ("origin", np.inf, "finite origins"),
    ],
)
def test_bad_records_are_refused(sample: Encoded, field: str, value: float, message: str) -> None:
    page, geometry, _, _ = _payloads(sample)
    n = len(page.counts)
    end = 4 + n * CLUSTER.itemsize
    record = np.ascontiguousarray(np.frombuffer(geometry[4:end], np.uint8).reshape(-1, n).T).view(CLUSTER)[:, 0].copy()
    record[field][2] = value
    bad = geometry[:4] + record.view(np.uint8).reshape(n, -1).T.tobytes() + geometry[end:]
    with pytest.raises(FormatError, match=message):
        codec.decode_geometry(bad, page.counts, sample.codec)


def test_bad_modes_and_masks_are_refused(sample: Encoded) -> None:
    page, geometry, sh, classes = _payloads(sample)
    with pytest.raises(FormatError, match="modes"):
        codec.decode_sh(b"\3" + sh[1:], page.counts, classes, sample.codec)
    with pytest.raises(FormatError, match="mask"):
        codec.decode_geometry(geometry[:3] + b"\4" + geometry[4:], page.counts, sample.codec)


def test_mutations_decode_or_are_refused() -> None:
    """Whatever the bytes: a FormatError, or words of the right length with steps that are finite."""
    encoded = encode(random_splats(np.random.default_rng(12), 300, 3), *spans(300, 50))
    page, geometry, sh, classes = _payloads(encoded)
    rng = np.random.default_rng(4)
    refused = 0
    for _ in range(300):
        data = bytearray(geometry)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data) if rng.random() < 0.5 else 300)] = rng.integers(256)
        try:
            g = codec.decode_geometry(bytes(data), page.counts, encoded.codec)
        except FormatError:
            refused += 1
        else:
            assert len(g.words) == g.slots.sum() * constant("SLOT_WORDS")
            heads = g.words.reshape(-1, constant("SLOT_WORDS"))[g.first_slot, :7]
            assert np.isfinite(heads.copy().view(np.float32)).all()
            codec.decode_sh(sh, page.counts, g.classes, encoded.codec)
    assert refused > 30
    for _ in range(100):
        data = bytearray(sh)
        data[rng.integers(len(data))] = rng.integers(256)
        try:
            codec.decode_sh(bytes(data), page.counts, classes, encoded.codec)
        except FormatError as error:
            assert "SH" in str(error)


def test_layer_description_round_trip(sample: Encoded) -> None:
    again = codec.LayerCodec.from_json(json.loads(json.dumps(sample.codec.to_json())))
    assert again.to_json() == sample.codec.to_json()
    assert np.array_equal(again.sh_basis, sample.codec.sh_basis)


BAD_DESCRIPTIONS = [
    ("sh_degree", 4), ("sh_degree", None), ("opacity_step", 0), ("opacity_step", "1"), ("knee", 1.5), ("knee", 99999),
    ("importance", [1, 2]), ("importance", [0, 5, 4]), ("importance", 3), ("steps", {}),
    ("steps", {**dict.fromkeys(MAX_SHIFT, 0), "sh": 5000}),
    ("sh_step", float("inf")), ("sh_step", -1), ("sh_basis", "AAA"), ("sh_basis", "AAAA"), ("sh_basis", 7),
]  # fmt: skip


@pytest.mark.parametrize(("member", "value"), BAD_DESCRIPTIONS)
def test_bad_layer_descriptions_are_refused(sample: Encoded, member: str, value: Any) -> None:
    data = {**sample.codec.to_json(), member: value}
    with pytest.raises(FormatError, match=member):
        codec.LayerCodec.from_json(data)


# --- JavaScript


def _run_node(folder: Path, encoded: Encoded) -> dict[str, Any]:
    pages = []
    for i, page in enumerate(encoded.pages):
        names = {"geometry": f"{i}.geometry", "sh": f"{i}.sh_block"}
        (folder / names["geometry"]).write_bytes(page.geometry.data)
        if page.sh:
            (folder / names["sh"]).write_bytes(page.sh.data)
        pages.append({**names, "counts": page.counts})
    (folder / "fixture.json").write_text(json.dumps({"codec": encoded.codec.to_json(), "pages": pages}))
    script = Path(__file__).parent / "js" / "decode_pages.mjs"
    subprocess.run(["node", str(script), str(folder)], check=True, timeout=120)
    result: dict[str, Any] = json.loads((folder / "decoded.json").read_text())
    return result


def hard_scene(degree: int) -> Splats:
    """Ordinary clusters, then one of each kind of trouble."""
    rng = np.random.default_rng(20 + degree)
    plain = random_splats(rng, 256 * 20, degree)
    far = random_splats(rng, 256, degree)
    far.means[0] = 900, 700, 500
    exact = random_splats(rng, 256, degree)
    exact.scales[:] = 1e-6
    wild = random_splats(rng, 256, degree)
    wild.sh[3] = 50
    wild.opacities[:5] = 0, 8, 3, 1e-9, 40
    wild.scales[7] = 1e-6, 1, 1e6
    return Splats.concatenate([plain, far, exact, wild, random_splats(rng, 7, degree)])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_javascript_decodes_to_the_same_words(degree: int, tmp_path: Path) -> None:
    splats = hard_scene(degree)
    coarse = np.arange(-(-len(splats) // 256)) % 3 == 0
    encoded = encode(splats, *spans(len(splats)), coarse)
    decoded = _run_node(tmp_path, encoded)
    assert decoded["constants"] == {
        "GROUP": constant("GROUP"), "HEADER_WORDS": constant("HEADER_WORDS"), "SLOT_WORDS": constant("SLOT_WORDS"),
        "SH_WORDS": [0, *(constant(f"SH_WORDS_{d}") for d in (1, 2, 3))], "SCALE_STEPS": SCALE_STEPS,
        "COLOR_UNIT": COLOR_UNIT, "MAX_SHIFT": MAX_SHIFT,
    }  # fmt: skip
    seen = set()
    for i, (page, js) in enumerate(zip(encoded.pages, decoded["pages"], strict=True)):
        g = codec.decode_geometry(zlib.decompress(page.geometry.data), page.counts, encoded.codec)
        assert (tmp_path / f"{i}.geometry.words").read_bytes() == g.words.tobytes()
        assert js["firstSlot"] == g.first_slot.tolist()
        assert js["slots"] == g.slots.tolist()
        assert js["classes"] == g.classes.tolist()
        assert np.array_equal(np.array(js["origins"], np.float32).reshape(-1, 3), g.origins)
        assert tuple(js["limits"]) == codec.max_payload_length(page.counts, degree)
        seen.update(g.slots.tolist())
        if page.sh:
            sh = codec.decode_sh(zlib.decompress(page.sh.data), page.counts, g.classes, encoded.codec)
            assert (tmp_path / f"{i}.geometry.sh").read_bytes() == sh.tobytes()
    assert seen == {1, 2}
    assert encoded.quantised.exact.any()


def test_every_step_matters(sample: Encoded) -> None:
    """Decoding with any other step gives other words: none of the layer's numbers is ignored."""
    page, geometry, _, _ = _payloads(sample)
    base = codec.decode_geometry(geometry, page.counts, sample.codec)
    for name in MAX_SHIFT:
        other = copy.deepcopy(sample.codec)
        other.steps[name] += 40
        try:
            g = codec.decode_geometry(geometry, page.counts, other)
        except FormatError:
            continue
        assert not (np.array_equal(g.words, base.words) and np.array_equal(g.classes, base.classes)), name
