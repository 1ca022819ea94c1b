"""Rebuild data/catalogue.tsv.gz from Debian's package index.

Usage, on Debian 12 after `apt-get update` (data/README.md has the details):

    /usr/lib/apt/apt-helper cat-file /var/lib/apt/lists/*_bookworm_main_binary-amd64_Packages* \
        | python tests/tools/build_catalogue.py

The index comes on standard input. Index format: https://wiki.debian.org/DebianRepository/Format
"""

import gzip
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "data" / "catalogue.tsv.gz"


def read_index(lines: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return {name: (section, summary)}. Of a name listed twice, the last one stays."""
    packages: dict[str, tuple[str, str]] = {}
    fields: dict[str, str] = {}
    for line in [*lines, ""]:
        if not line.strip():
            if fields:
                packages[fields["Package"]] = (fields["Section"], fields["Description"])
            fields = {}
        elif not line[0].isspace():  # an indented line continues the field above it
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return packages


def shelf_order(name: str) -> bytes:
    """Sort key that mixes all kinds of packages: the first k lines are a fair sample."""
    return hashlib.sha256(name.encode()).digest()


def main() -> None:
    """Read the index from standard input, write the catalogue, print what it holds."""
    raw = sys.stdin.buffer.read()
    packages = read_index(raw.decode("utf-8").split("\n"))
    rows = [(name, *packages[name]) for name in sorted(packages, key=shelf_order)]
    for row in rows:
        if not all(row) or any(c in field for field in row for c in "\t\n\r"):
            sys.exit(f"A field of this package is empty or holds a tab or line end: {row!r}")
    text = "".join("\t".join(row) + "\n" for row in rows).encode()
    # mtime=0: the same text gives the same bytes, whenever it is built.
    TARGET.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    print(f"index     {len(raw):>10,} bytes  sha256 {hashlib.sha256(raw).hexdigest()}")
    print(f"catalogue {len(text):>10,} bytes  sha256 {hashlib.sha256(text).hexdigest()}")
    print(f"{TARGET.name}: {len(rows):,} packages, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
