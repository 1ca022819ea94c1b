"""What the stand-in for MongoDB does otherwise: right answers that only it refuses are told apart.

    @told_apart
    def check(mg, pipeline): ...

When such a check refuses an answer on the stand-in, it runs once more, and every pipeline is
rewritten so that the stand-in computes what MongoDB would. What is accepted then is right on
MongoDB; the learner is told so, and how to write it here. On MongoDB nothing of this happens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pymongo.collection import Collection

from helpers.exercises import CouldNotCheck, Incorrect, NotAttempted
from helpers.kinds.mongodb import is_mongodb

RIGHT = "on MongoDB this is right."
#: Operators of MongoDB 8.0 that the stand-in does not know.
UNKNOWN = {
    "$accumulator",
    "$covariancePop",
    "$covarianceSamp",
    "$function",
    "$sampleRate",
    "$toHashedIndexKey",
    "$toUUID",
    "$unsetField",
}
#: Stages whose texts are names or paths to fields, and no expressions.
PLAIN = {"$unwind", "$sort", "$limit", "$skip", "$count", "$sample", "$unset", "$out", "$densify"}
#: A collection with one empty document, for documents that a pipeline brings along.
ONE = "one_empty_document"


def told_apart(check: Callable[..., None]) -> Callable[..., None]:
    """Wrap a check of MongoDB pipelines, or of functions that run some.

    Raises:
        CouldNotCheck: the answer is right on MongoDB, and only the stand-in refuses it.
    """

    @functools.wraps(check)
    def checked(**given: Any) -> None:
        plain = Rewriting()
        with _aggregates(plain.note):
            try:
                return check(**given)
            except (Incorrect, NotAttempted) as problem:
                first = problem
        if not (plain.met or plain.unknown) or is_mongodb(given["mg"].url):
            raise first
        for name in sorted(plain.unknown):
            if name in str(first):
                raise CouldNotCheck(
                    f"this server does not know {name}; MongoDB does. Here, write "
                    "it with other operators."
                ) from None
        try:
            with _aggregates(Rewriting().run):
                check(**given)
        except (Incorrect, NotAttempted):
            raise first from first.__cause__
        raise CouldNotCheck(plain.in_words())

    return checked


@contextmanager
def _aggregates(change: Callable[[Any, Any], Any]) -> Iterator[None]:
    """Change the pipelines that are run in the block, whoever runs them."""
    own = Collection.aggregate

    def aggregate(self: Any, pipeline: Any, *args: Any, **kwargs: Any) -> Any:
        return own(self, change(self, pipeline), *args, **kwargs)

    Collection.aggregate = aggregate  # type: ignore[method-assign]
    try:
        yield
    finally:
        Collection.aggregate = own  # type: ignore[method-assign]


class Rewriting:
    """Pipelines as the stand-in needs them to do what MongoDB does."""

    def __init__(self) -> None:
        """Begin with nothing met."""
        self.met: dict[str, list[str]] = {}  # each difference, and what in the pipelines has it
        self.unknown: set[str] = set()
        self.constants: dict[str, str] = {}

    def note(self, _: Any, pipeline: Any) -> Any:
        """Look what would be rewritten, and leave the pipeline as it is."""
        self.stages(pipeline)
        return pipeline

    def run(self, collection: Any, pipeline: Any) -> Any:
        """Return the rewritten pipeline."""
        stages = self.stages(pipeline)
        if "documents" in self.met:
            collection.database[ONE].replace_one({"_id": 0}, {}, upsert=True)
        return stages

    def in_words(self) -> str:
        """Say what the server does otherwise, and how to write it here."""
        if "timezone" in self.met:
            return (
                f"this server takes a time zone only as a text, not as an expression; {RIGHT} "
                'Here, write the text itself: "timezone": zone.'
            )
        if "documents" in self.met:
            return (
                f"this server has no $documents in $unionWith; {RIGHT} Here, do without: $ifNull "
                "puts something in the place of what is missing."
            )
        if "count" in self.met:
            return (
                f"this server has no $count in the pipeline of a $lookup; {RIGHT} Here, write "
                '{"$group": {"_id": None, "n": {"$sum": 1}}}.'
            )
        paths = [path for path in self.met["path"] if not path.startswith("$_id.")]
        path = (paths or self.met["path"])[0]
        root, _, field = path.rpartition(".")
        return (
            f"this server does not follow a path into a list, such as {path}; {RIGHT} Here, write "
            f'{{"$map": {{"input": "{root}", "in": "$$this.{field}"}}}}.'
        )

    def meet(self, what: str, where: str) -> None:
        """Note a difference."""
        found = self.met.setdefault(what, [])
        if where not in found:
            found.append(where)

    def stages(self, pipeline: Any) -> Any:
        """Rewrite a pipeline; what is none stays as it is, for the server to refuse."""
        if not isinstance(pipeline, Sequence) or isinstance(pipeline, str):
            return pipeline
        self.constants |= dict(constants(pipeline))
        return [self.stage(stage) for stage in pipeline]

    def stage(self, stage: Any) -> Any:
        """Rewrite a stage."""
        if not isinstance(stage, dict) or len(stage) != 1:
            return stage
        [(name, about)] = stage.items()
        if name in PLAIN:
            return stage
        if name == "$match":
            return {name: self.condition(about)}
        if name == "$facet" and isinstance(about, dict):
            return {name: {part: self.stages(stages) for part, stages in about.items()}}
        if name in ("$lookup", "$unionWith", "$merge") and isinstance(about, dict):
            return {name: self.with_pipeline(name, about)}
        return {name: self.value(about)}

    def with_pipeline(self, name: str, about: dict[str, Any]) -> dict[str, Any]:
        """Rewrite what a stage with a pipeline of its own says."""
        about = dict(about)
        inner = about.get("pipeline") if isinstance(about.get("pipeline"), list) else None
        if name == "$lookup" and inner:
            inner = [part for stage in inner for part in self.counted(stage)]
        if name == "$unionWith" and inner and "$documents" in (first := inner[0]):
            self.meet("documents", "$documents")
            begin = [{"$project": {"_id": 0, "row": first["$documents"]}}, {"$unwind": "$row"}]
            inner = [*begin, {"$replaceRoot": {"newRoot": "$row"}}, *inner[1:]]
            about["coll"] = ONE
        if inner is not None:
            about["pipeline"] = self.stages(inner)
        if "whenMatched" in about:
            about["whenMatched"] = self.stages(about["whenMatched"])
        if "let" in about:
            about["let"] = self.value(about["let"])
        return about

    def counted(self, stage: Any) -> list[Any]:
        """Return the stages that do what a $count does."""
        if not isinstance(stage, dict) or set(stage) != {"$count"}:
            return [stage]
        self.meet("count", "$count")
        ones = {"$group": {"_id": None, stage["$count"]: {"$sum": 1}}}
        return [ones, {"$unset": "_id"}]

    def condition(self, about: Any) -> Any:
        """Rewrite the expressions in a condition; its other texts are values."""
        if isinstance(about, list):
            return [self.condition(one) for one in about]
        if not isinstance(about, dict):
            return about
        return {
            key: self.value(one) if key == "$expr" else self.condition(one)
            for key, one in about.items()
        }

    def value(self, about: Any) -> Any:
        """Rewrite an expression."""
        if isinstance(about, str) and about.startswith("$") and "." in about:
            self.meet("path", about)
            return path(about)
        if isinstance(about, list):
            return [self.value(one) for one in about]
        if not isinstance(about, dict) or "$literal" in about:
            return about
        self.unknown |= about.keys() & UNKNOWN
        return {
            key: self.zone(one) if key == "timezone" else self.value(one)
            for key, one in about.items()
        }

    def zone(self, about: Any) -> Any:
        """Return the text that an expression for a time zone stands for, where it is constant."""
        text = constant(about) or self.constants.get(about if isinstance(about, str) else "")
        if text is None or text == about:
            return about
        self.meet("timezone", text)
        return text


def constant(about: Any) -> str | None:
    """Return the text that an expression is, if it is one."""
    if isinstance(about, dict) and set(about) == {"$literal"}:
        about = about["$literal"]
        return about if isinstance(about, str) else None
    return about if isinstance(about, str) and not about.startswith("$") else None


def constants(about: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields and variables of a pipeline that are a text, as an expression names them."""
    if isinstance(about, list):
        for one in about:
            yield from constants(one)
    if not isinstance(about, dict):
        return
    for key, one in about.items():
        if isinstance(one, dict):
            sign = {"$set": "$", "$addFields": "$", "$project": "$", "vars": "$$", "let": "$$"}
            for name, text in one.items() if key in sign else ():
                if (said := constant(text)) is not None:
                    yield sign[key] + name, said
        yield from constants(one)


def path(text: str) -> Any:
    """Return an expression for a path such as "$list.field" that follows it into lists."""
    root, *rest = text.split(".")
    return _follow(root, rest)


def _follow(root: str, rest: list[str], depth: int = 0) -> Any:
    if not rest:
        return root
    one = f"each{depth}"
    found = {
        "$map": {"input": root, "as": one, "in": _follow(f"$${one}.{rest[0]}", rest[1:], depth + 1)}
    }
    there = {"$filter": {"input": found, "as": "found", "cond": {"$ne": ["$$found", None]}}}
    plain = _follow(f"{root}.{rest[0]}", rest[1:], depth)
    return {"$cond": [{"$isArray": [root]}, there, plain]}
