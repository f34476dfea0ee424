"""What shading stages read from storage buffers: also from JavaScript; looks that are refused."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.viewer.errors import LensError
from splatlens.viewer.mesh import Dense, Gaussians, Input, LightField, Look, Network, plain_look
from splatlens.viewer.mesh_params import pack_directions, pack_params, wave_groups
from tests.mesh_looks import encoded, gaussians_look, light_field_look, look_with, random_network, raw
from tests.test_assemble_mesh import javascript

NODE_SCRIPT = Path(__file__).parent / "js" / "mesh_params_twin.mjs"
NETWORK = random_network([*raw(8, 1), *encoded([3, 9], 2), *raw(1)], [6, 64], ["relu", "none", "sigmoid"], base=2)
LOOKS = {
    "plain": plain_look(7),
    "gaussians": gaussians_look(2, 18),
    "light field": light_field_look(12, (5, 3)),
    "network": look_with(NETWORK, 7),
    "widest": look_with(random_network(raw(*range(35)), [64, 61, 64], ["relu", "none", "relu", "sigmoid"]), 32),
    "no raw input": look_with(random_network(encoded([0], 5), [], ["none"]), 4),
}


def test_javascript_packs_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "looks.json"
    path.write_text(json.dumps([javascript(look) for look in LOOKS.values()]))
    run = subprocess.run(["node", str(NODE_SCRIPT), str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for (name, look), got in zip(LOOKS.items(), json.loads(run.stdout), strict=True):
        assert got["params"] == pack_params(look).tobytes().hex(), name
        field, network = (isinstance(look.method, kind) for kind in (LightField, Network))
        assert got["directions"] == (pack_directions(look).tobytes().hex() if field else "")
        assert got["waves"] == (wave_groups(look.method) if network else 0)  # type: ignore[arg-type]


def test_a_network_row_by_row() -> None:
    """Two channels and the direction's z, in an order of their own, one of them twice and one as a sine."""
    inputs = (Input(4), Input(1, 3.0, 0.5), Input(0), Input(0))
    kernel = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [0.25, 0.5, 0.75]], np.float32)
    network = Network(inputs, (Dense(kernel, np.float32([10, 11, 12]), "none"),))
    look = Look(2, network, np.float32([2, 3]), np.float32([0.5, -1]))
    zero = [0, 0, 0, 0]
    assert pack_params(look).tolist() == [
        [2, 3, 0, 0], [0.5, -1, 0, 0],
        [1, 0, 0, 0], [3, 0, 0, 0], [0.5, 0, 0, 0],  # one group of sines: of channel 1
        [10, 11, 12, 0],
        [7.25, 8.5, 9.75, 0], zero, zero, zero,  # channels
        zero, zero, [1, 2, 3, 0], zero,  # direction
        [4, 5, 6, 0], zero, zero, zero,  # sines
    ]  # fmt: skip


def test_directions_are_words_row_by_row() -> None:
    look = light_field_look(8, (3, 2))
    assert isinstance(look.method, LightField)
    words = pack_directions(look)
    assert words.shape == (12,)
    assert words.view(np.uint8).reshape(2, 3, 8).tolist() == look.method.directions.tolist()


def dense(inputs: int, outputs: int, value: float = 0.5, activation: str = "relu") -> Dense:
    return Dense(np.full((inputs, outputs), value, np.float32), np.zeros(outputs, np.float32), activation)


def network_of(*layers: Dense, inputs: int = 4, **changes: Any) -> Look:
    return look_with(replace(Network(tuple(raw(*range(inputs))), layers), **changes), 4)


REFUSED: dict[str, tuple[str, Any]] = {
    "sizes do not chain": (
        "layer 1: its kernel takes 15 values, it is given 16", lambda: network_of(dense(4, 16), dense(15, 3))),
    "first layer": ("layer 0: its kernel takes 5 values, it is given 4", lambda: network_of(dense(5, 3))),
    "not a colour": ("the network gives 4 values; expected 3", lambda: network_of(dense(4, 4))),
    "no layers": ("0 layers; 1 to 4", lambda: network_of()),
    "five layers": ("5 layers; 1 to 4", lambda: network_of(*[dense(4, 4)] * 4, dense(4, 3))),
    "too wide": ("layers of [4, 65, 3] units; 1 to 64", lambda: network_of(dense(4, 65), dense(65, 3))),
    "NaN weights": ("layer 1: has weights that are not finite", lambda: network_of(dense(4, 3), dense(3, 3, np.nan))),
    "infinite bias": ("layer 0: has weights that are not finite", lambda: network_of(
        Dense(np.ones((4, 3), np.float32), np.float32([0, np.inf, 0]), "none"))),
    "biases": ("layer 0: (2,) biases for 3 outputs", lambda: network_of(
        Dense(np.ones((4, 3), np.float32), np.zeros(2, np.float32), "none"))),
    "activation": ("layer 0: activation 'tanh'", lambda: network_of(dense(4, 3, activation="tanh"))),
    "source": ("input 0: no source 7 of 4 channels and 3", lambda: look_with(
        Network((Input(7),), (dense(1, 3),)), 4)),
    "frequency": ("input 0: expected finite numbers", lambda: look_with(
        Network((Input(0, float("nan")),), (dense(1, 3),)), 4)),
    "base": ("base: no channels from 2 on", lambda: network_of(dense(4, 3), base=2)),
    "lobes": ("3 lobes take 24 channels, there are 23", lambda: look_with(Gaussians(3), 23)),
    "terms": ("5 terms; expected a multiple of 4", lambda: light_field_look(5, (4, 4))),
    "map": ("directions (4, 4, 8); expected (h, w, 4)", lambda: look_with(
        LightField(4, np.zeros((4, 4, 8), np.uint8), *np.ones((2, 4), np.float32)), 12)),
    "channels": ("33 channels; 1 to 32", lambda: look_with(NETWORK, 33)),
    "scale": ("scale: expected 3 finite numbers", lambda: replace(plain_look(), scale=np.float32([1, np.nan, 1]))),
    "direction": ("direction: expected 3 x 3 finite", lambda: replace(
        plain_look(), direction=((1, 0, 0), (0, float("inf"), 0), (0, 0, 1)))),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_looks_that_nothing_could_draw_are_refused(name: str) -> None:
    message, make = REFUSED[name]
    with pytest.raises(LensError, match=re.escape(message)):
        make()
