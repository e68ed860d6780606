"""What a file has beside its cells."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Style:
    """What a file has beside its cells, and a file written from it keeps."""

    delimiter: str = ","
    newline: str = "\n"
    encoding: str = "utf-8"
    metadata: dict[bytes, bytes] = field(default_factory=dict)
