"""What a SOG meta.json says, versions 1 and 2, as the tables that turn a texel's bytes into values.

Version 2 (PlayCanvas, "The SOG Format") keeps codebooks of 256 values; version 1 (playcanvas/sogs, no `version` key)
evenly spaced values between a minimum and a maximum for each channel, and the opacity as a logit. As tables of 256
values both are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.sog_files import inner_name
from splatlens.converters.sog_layout import ANTIALIASED, CODEBOOK, FLAT, MAX_PALETTE, MAX_SIDE, REST, VERSION
from splatlens.viewer.errors import UnsupportedError
from splatlens.viewer.fields import Field, parse_json

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Palette:
    """SH rows shared by many splats. entries: None where only the texture's height says; table: (256,) values.

    degree: 1 to 4, None where only the texture's width says; codes: how many of the table's values exist.
    """

    centroids: str
    labels: str
    degree: int | None
    entries: int | None
    table: Table
    codes: int


@dataclass(frozen=True)
class Meta:
    """count: splats. mins, maxs: (3,) ends of the quantised log-transformed centres, world units.

    log_scales, colours: (3, 256) by channel, of which the first `scale_codes`, `colour_codes` exist and the rest is
    NaN; opacities: (256,). means, scales, quats, sh0: names of the textures, means the low and the high bytes.
    antialias: None where the file does not say; flat: trained as discs.
    """

    version: int
    count: int
    mins: Table
    maxs: Table
    means: tuple[str, str]
    scales: str
    quats: str
    sh0: str
    log_scales: Table
    scale_codes: int
    colours: Table
    colour_codes: int
    opacities: Table
    palette: Palette | None
    antialias: bool | None
    flat: bool
    warnings: tuple[str, ...]


def parse_meta(data: bytes, label: str, name: str) -> Meta:
    """Checks every field that is used. Raises FormatError, UnsupportedError for an unknown version."""
    top = parse_json(data, label, name)
    top.object()
    version = 1
    if top.has("version"):
        given = top.member("version")
        version = given.integer(0, 10**9)
        if version not in (1, VERSION):
            why = f"SOG version {version} is not supported; versions 1 and 2 are read"
            raise UnsupportedError(f"{label}: {why}; export the scene as SOG version 2")
    fields = {key: top.member(key) for key in ("means", "scales", "quats", "sh0")}
    count = top.member("count") if version == VERSION else fields["means"].member("shape").items(2, 2)[0]
    low, high = _names(fields["means"], 2)
    tables = _codebooks(fields) if version == VERSION else _ranges(fields)
    palette = _palette(top.member("shN"), version) if top.has("shN") else None
    antialias, flat, warnings = _model(top)
    return Meta(
        version,
        count.integer(1, MAX_SIDE**2),
        np.array(fields["means"].member("mins").numbers(3)),
        np.array(fields["means"].member("maxs").numbers(3)),
        (low, high),
        _names(fields["scales"], 1)[0],
        _names(fields["quats"], 1)[0],
        _names(fields["sh0"], 1)[0],
        *tables,
        palette,
        antialias,
        flat,
        warnings,
    )


def _names(field: Field, count: int) -> list[str]:
    return [inner_name(name) for name in field.member("files").items(count, count)]


def _codebooks(fields: dict[str, Field]) -> tuple[Table, int, Table, int, Table]:
    """Tables of version 2: one codebook of log scales, one of f_dc, alpha the opacity itself."""
    scales, scale_codes = _codebook(fields["scales"].member("codebook"))
    colours, colour_codes = _codebook(fields["sh0"].member("codebook"))
    return np.tile(scales, (3, 1)), scale_codes, np.tile(colours, (3, 1)), colour_codes, np.arange(256) / 255


def _codebook(field: Field) -> tuple[Table, int]:
    """256 values; null, as older tools wrote infinities, and what a shorter list leaves out are NaN."""
    items = field.items(1, CODEBOOK)
    table = np.full(CODEBOOK, np.nan)
    table[: len(items)] = [np.nan if item.value is None else item.number() for item in items]
    return table, len(items)


def _ranges(fields: dict[str, Field]) -> tuple[Table, int, Table, int, Table]:
    """Tables of version 1: a byte is a share of the way from minimum to maximum; channel 3 of sh0 is the logit."""
    steps = np.arange(256) / 255

    def between(field: Field, channels: int) -> Table:
        low, high = (np.array(field.member(name).numbers(channels))[:, None] for name in ("mins", "maxs"))
        with np.errstate(over="ignore", invalid="ignore"):
            table: Table = low + (high - low) * steps
        return table

    colours = between(fields["sh0"], 4)
    with np.errstate(over="ignore"):
        opacities = 1 / (1 + np.exp(-colours[3]))
    return between(fields["scales"], 3), CODEBOOK, colours[:3], CODEBOOK, opacities


def _palette(field: Field, version: int) -> Palette | None:
    """None for the degree 0."""
    if version == VERSION:
        degree = field.member("bands").integer(0, len(REST))
        if degree == 0:
            return None
        centroids, labels = _names(field, 2)
        entries = field.member("count").integer(1, MAX_PALETTE)
        return Palette(centroids, labels, degree, entries, *_codebook(field.member("codebook")))
    centroids, labels = _names(field, 2)
    low, high = (_scalar(field.member(name)) for name in ("mins", "maxs"))
    with np.errstate(over="ignore", invalid="ignore"):
        table: Table = low + (np.float64(high) - low) * (np.arange(256) / 255)
    return Palette(centroids, labels, None, None, table, CODEBOOK)


def _scalar(field: Field) -> float:
    """A number, or a list of one."""
    return field.items(1, 1)[0].number() if isinstance(field.value, list) else field.number()


def _model(top: Field) -> tuple[bool | None, bool, tuple[str, ...]]:
    """antialias, flat and warnings: from `model`, or from `antialias` as the specification's first edition had it."""
    if top.has("model"):
        model = top.member("model").text(200)
        if model in (ANTIALIASED, FLAT):
            return (True if model == ANTIALIASED else None), model == FLAT, ()
        if model != "default":
            return None, False, (f"unknown model {model!r} is drawn as plain 3D Gaussians",)
        return None, False, ()
    given = top.member("antialias").value
    return (given if isinstance(given, bool) else None), False, ()
