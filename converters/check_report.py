"""What a model was found to be: errors and warnings, each a line with a remedy, and facts for a summary."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splatlens.viewer.contract import Contract
from splatlens.viewer.generator import FIRST, Moment


@dataclass(frozen=True)
class Finding:
    """level: error (breaks the contract), or warning. what: where in the model. text: one sentence and a remedy."""

    level: str
    what: str
    text: str


@dataclass
class Report:
    """Findings, and facts for the summary. warnings do not fail a model."""

    path: Path
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not any(f.level == "error" for f in self.findings)

    def add(self, level: str, what: str, text: str) -> None:
        """A finding, once for each `what` and level."""
        if all((f.level, f.what) != (level, what) for f in self.findings):
            self.findings.append(Finding(level, what, text))

    def to_json(self) -> dict[str, Any]:
        found = [{"level": f.level, "what": f.what, "text": f.text} for f in self.findings]
        return {"model": str(self.path), "passed": self.passed, "findings": found, "facts": self.facts}


def moment_text(contract: Contract, moment: Moment) -> str:
    """At 0.5 s, smile=1, track walk."""
    parts = [f"{moment.seconds:.4g} s"] if contract.time or contract.tracks else []
    parts += [f"{name}={value:g}" for name, value in list(moment.controls.items())[:4]]
    if moment.track != FIRST:
        parts.append(f"track {moment.track}" if moment.track else "no track")
    return "at " + ", ".join(parts) if parts else "in its run"
