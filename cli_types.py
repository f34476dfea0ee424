"""Values on the command line: sizes, vectors and colours."""

from __future__ import annotations

import math
import re
from typing import Any

import click

#: Largest side of a picture, pixels: WebGPU's default limit of a texture.
MAX_SIDE = 8192


class Size(click.ParamType):
    """1280x720."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", value) if isinstance(value, str) else None
        if match is None or not all(1 <= int(side) <= MAX_SIDE for side in match.groups()):
            self.fail(f"{value!r}: expected WIDTHxHEIGHT in pixels, 1 to {MAX_SIDE}, such as 1280x720", param, ctx)
        return int(match[1]), int(match[2])


class Vector(click.ParamType):
    """Three numbers: 1,2,3."""

    name = "x,y,z"

    def __init__(self, low: float = -1e15, high: float = 1e15, name: str = "x,y,z") -> None:
        self.low, self.high, self.name = low, high, name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        if isinstance(value, tuple):
            return value[0], value[1], value[2]
        try:
            numbers = [float(word) for word in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 3 or not all(math.isfinite(v) and self.low <= v <= self.high for v in numbers):
            bounds = "" if self.high > 1 else f" from {self.low:g} to {self.high:g}"
            self.fail(f"{value!r}: expected three numbers{bounds} as {self.name}", param, ctx)
        return numbers[0], numbers[1], numbers[2]


class Setting(click.ParamType):
    """smile=0.7, or layer:smile=0.7; on and off for switches."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value[0], value[1]
        name, _, text = str(value).rpartition("=")
        words = {"on": 1.0, "off": 0.0, "true": 1.0, "false": 0.0}
        try:
            number = words[text.lower()] if text.lower() in words else float(text)
        except ValueError:
            number = math.nan
        if not name or not math.isfinite(number):
            self.fail(f"{value!r}: expected a control and its value as NAME=VALUE, such as smile=0.7", param, ctx)
        return name, number


SIZE = Size()
SETTING = Setting()
VECTOR = Vector()
COLOUR = Vector(0, 1, "r,g,b")
