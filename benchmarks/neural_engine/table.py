"""The published rules by operation, read from `operations.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from edgewright.errors import Error


class Eligibility(StrEnum):
    """From good to bad."""

    ELIGIBLE = "eligible"
    UNKNOWN = "unknown"
    NOT = "not"


@dataclass(frozen=True)
class Finding:
    """`source` is the address of the page that says so."""

    verdict: Eligibility
    reason: str
    source: str


@dataclass(frozen=True)
class Table:
    """`operations` by type; `sources` by the short names that rules cite."""

    operations: Mapping[str, Finding]
    sources: Mapping[str, str]

    def finding(self, verdict: Eligibility, reason: str, source: str) -> Finding:
        return Finding(verdict, reason, self.sources[source])


@cache
def table() -> Table:
    """Raises Error when two rows name one operation or a row cites no source of the file."""
    raw = tomllib.loads((files(__package__) / "operations.toml").read_text(encoding="utf-8"))
    found: dict[str, Finding] = {}
    for row in raw["operations"]:
        if row["source"] not in raw["sources"]:
            raise Error(f"operations.toml: no source is named {row['source']!r}")
        for name in row["names"].split():
            if name in found:
                raise Error(f"operations.toml: two rows for {name}")
            found[name] = Finding(Eligibility(row["verdict"]), row["reason"], raw["sources"][row["source"]])
    return Table(MappingProxyType(found), MappingProxyType(raw["sources"]))
