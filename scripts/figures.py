"""Prints the project's measured figures as one Markdown table beside what is asked of them (`make figures`).

    python scripts/figures.py [SECTION ...]

Without arguments every section is measured, in about an hour on two cores. A section that cannot be
measured here says what is missing; one that fails says so, and the exit status is 1. Figures that fall short do not
change it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import figures_avatar
import figures_deform
import figures_fields
import figures_formats
import figures_gpu
import figures_live
import figures_lod
import figures_mesh_cost
import figures_mesh_lod
import figures_mesh_page
import figures_mobilenerf
import figures_peers
import figures_pictures
import figures_postprocess
import figures_scaffold
import figures_sequence
import figures_sizes
from figures_base import MissingError, Row, Section, machine

SECTIONS: dict[str, Section] = {
    "goldens": figures_pictures.goldens,
    "twins": figures_pictures.twins,
    "detail": figures_pictures.detail,
    "noise": figures_pictures.noise,
    "lod": figures_lod.lod,
    "coverage": figures_lod.coverage,
    "first": figures_lod.first,
    "page": figures_sizes.page,
    "browser": figures_gpu.browser,
    "sort": figures_gpu.sort,
    "frame": figures_gpu.frame,
    "convert": figures_sizes.convert,
    "sample": figures_pictures.sample,
    "fixtures": figures_formats.fixtures,
    "formats": figures_formats.formats,
    "sog": figures_formats.sog,
    "reading": figures_formats.reading,
    "memory": figures_formats.memory,
    "scaffold": figures_scaffold.scaffold,
    "deform": figures_deform.rows,
    "sequence": figures_sequence.sequence,
    "avatar": figures_avatar.rows,
    "postprocess": figures_postprocess.postprocess,
    "mobilenerf": figures_mobilenerf.rows,
    "fields": figures_fields.rows,
    "generated": figures_live.generated,
    "live": figures_live.live,
    "cost": figures_live.cost,
    "mesh_page": figures_mesh_page.rows,
    "mesh_cost": figures_mesh_cost.mesh_frames,
    "mesh_lod": figures_mesh_lod.mesh_lod,
    "peers": figures_peers.peers,
}
_MARKS = {True: "reached", False: "**short**", None: ""}


def measure(name: str) -> tuple[list[Row], bool]:
    """The rows of a section, and whether it ran without a fault."""
    start = time.perf_counter()
    try:
        rows, fine = SECTIONS[name](), True
    except MissingError as error:
        rows, fine = [Row("", "", f"not measured: {error}")], True
    except Exception as error:  # one section's fault must not take the others' figures away
        rows, fine = [Row("", "", f"failed: {type(error).__name__}: {str(error).strip()[:300]}")], False
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return rows, fine


def line(section: str, row: Row) -> str:
    cells = (section, row.what, row.asked, row.measured, _MARKS[row.reached])
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        print(f"figures: no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    print("\n".join(machine()) + "\n\n| section | figure | asked | measured | |\n|---|---|---|---|---|", flush=True)
    faults = 0
    for name in names or list(SECTIONS):
        rows, fine = measure(name)
        faults += not fine
        print("\n".join(line(name, row) for row in rows), flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    sys.exit(main(parser.parse_args().sections))
