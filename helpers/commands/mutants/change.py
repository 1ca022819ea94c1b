"""A cell's text with its syntax tree, and what one change of it is.

A change is made in the text and not in the tree: everything else stays as it was written, with
its comments and line breaks, so that a mutant can be shown as one changed place.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

# A line that IPython reads itself: %sql, !command, or the same on the right of `=`.
MAGIC_LINE = re.compile(r"^([ \t]*(?:\w+[ \t]*=[ \t]*)?)([%!].*)$", re.M)
LITERAL = re.compile(r"([A-Za-z]{0,2})('''|\"\"\"|'|\")(.*)\2", re.S)
TASK_CALL = re.compile(r"(?:await\s+)?ex\d+\.\w+\(.*\)", re.S)
Span = tuple[int, int]


@dataclass(frozen=True)
class Change:
    """One change of a cell: `source[start:end]` becomes `text`.

    Attributes:
        operator: what kind of change it is, in words.
        shown: what to show instead of the two texts, when they are much longer: before, after.
    """

    operator: str
    start: int
    end: int
    text: str
    shown: tuple[str, str] | None = None


@dataclass(frozen=True)
class Text:
    """A string of a cell whose content can be changed: SQL, Lua, a format.

    Attributes:
        value: the content. Of an f-string its text, with {...} as written.
        span: where the literal is in the cell's source.
        inner: where the content begins, if it stands there as it is; or None, after an escape or
            where several literals follow each other.
        node: the tree's node; None where the text is a magic's.
    """

    value: str
    span: Span
    inner: int | None
    node: ast.expr | None = None

    def change(self, operator: str, start: int, end: int, new: str) -> Change:
        """Return the change that puts `new` in the place of `value[start:end]`."""
        if self.inner is not None:
            return Change(operator, self.inner + start, self.inner + end, new)
        whole = self.value[:start] + new + self.value[end:]
        return Change(operator, *self.span, repr(whole), (self.value[start:end], new))


def of_sequence(spans: list[Span], index: int) -> Span:
    """Return what to delete so that a sequence loses one item and the comma that belongs to it."""
    if index + 1 < len(spans):
        return spans[index][0], spans[index + 1][0]
    return (spans[index - 1][1], spans[index][1]) if index else spans[index]


class Cell:
    """A cell's source, its tree, and where in the source each node is."""

    def __init__(self, source: str) -> None:
        """Parse the source.

        Args:
            source: an IPython cell. Lines of %magics count as names; a %%magic's cell has no tree.

        Raises:
            SyntaxError: it is neither Python nor that.
        """
        self.source = source
        head, _, _ = source.lstrip().partition("\n")
        self.magic = head if head.startswith("%%") else ""
        self.tree = ast.parse("") if self.magic else self._parse()
        starts = [0] + [match.end() for match in re.finditer("\n", source)]
        self._lines = [(at, source[at:].partition("\n")[0]) for at in starts]

    def _parse(self) -> ast.Module:
        try:
            return ast.parse(self.source)
        except SyntaxError:
            # Of the same length, so that every position in the tree is one in the source.
            return ast.parse(MAGIC_LINE.sub(lambda line: line[1] + "_" * len(line[2]), self.source))

    def offset(self, line: int, column: int) -> int:
        """Return the place in the source of a tree's line (from 1) and column (in bytes)."""
        start, text = self._lines[line - 1]
        return start + len(text.encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt | ast.keyword | ast.excepthandler) -> Span:
        """Return where a node begins and ends in the source."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self.offset(node.lineno, node.col_offset),
            self.offset(node.end_lineno, node.end_col_offset),
        )

    def text(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        """Return a node's source."""
        start, end = self.span(node)
        return self.source[start:end]

    def indent(self, node: ast.stmt) -> str:
        """Return the blanks before a statement."""
        return " " * node.col_offset

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes in the order of the source, but no annotation and nothing inside f-strings.

        (Before Python 3.12 the nodes inside an f-string have no true position.)
        """
        return list(_walk(self.tree))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node above each node."""
        return {
            child: parent
            for parent in ast.walk(self.tree)
            for child in ast.iter_child_nodes(parent)
        }

    @cached_property
    def docstrings(self) -> set[ast.AST]:
        """Strings that are statements: they do nothing."""
        return {n.value for n in self.nodes if isinstance(n, ast.Expr) and _is_text(n.value)}

    @cached_property
    def texts(self) -> list[Text]:
        """The strings of the cell, docstrings excepted, and what magics are given."""
        strings = [n for n in self.nodes if _is_text(n) and n not in self.docstrings]
        found = [self._text_of(n) for n in strings if isinstance(n, (ast.Constant, ast.JoinedStr))]
        return [text for text in found if text] + self._magic_texts()

    def _text_of(self, node: ast.Constant | ast.JoinedStr) -> Text | None:
        span = self.span(node)
        literal = LITERAL.fullmatch(self.text(node))
        # As it stands: one literal, without an escape.
        plain = literal and literal[2] not in literal[3] and "\\" not in literal[3]
        if literal and plain:
            return Text(literal[3], span, span[0] + literal.start(3), node)
        if isinstance(node, ast.Constant):
            return Text(str(node.value), span, None, node)
        return None  # an f-string in several pieces

    def _magic_texts(self) -> list[Text]:
        if self.magic:
            at = self.source.index(self.magic) + len(self.magic)
            return [Text(self.source[at:], (at, len(self.source)), at)]
        lines = [n for n in self.nodes if isinstance(n, ast.Name) and set(n.id) == {"_"}]
        found = []
        for span in map(self.span, lines):
            if magic := re.fullmatch(r"%\w+\s+(.*)", self.source[slice(*span)]):
                at = span[0] + magic.start(1)
                found.append(Text(magic[1], (at, span[1]), at))
        return found


def _is_text(node: ast.AST) -> bool:
    constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return constant or isinstance(node, ast.JoinedStr)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.JoinedStr):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child)
