"""Answers made by machine: cells that are wrong in one place must be refused, right ones accepted.

`make mutants LESSON=05` changes each model solution of lesson 05 in one place after the other and
checks what comes of it. A mutant that is accepted is a *survivor*: the check has a hole, or the
mutant is as good as the solution. Then the exercise lists it under `equal`, with the reason. The
other direction too: variants of the solution that are right must be accepted.
"""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from helpers import outline
from helpers.base.errors import LabError
from helpers.commands.answering import Answers
from helpers.commands.mutants import Mutant, mutants
from helpers.commands.mutants.variants import Variant, variants
from helpers.commands.own_lab import own_lab
from helpers.commands.trial import Outcome
from helpers.exercises import Exercise
from helpers.outline import Notebook

LEAST_SECONDS = 20  # an answer may take this long, or this many times what the solution takes:
TIMES_THE_SOLUTION = 5
COURSE_SCORE, EXERCISE_SCORE = 98, 90  # percent of the mutants that must be refused


@dataclass
class Report:
    """What came of one exercise."""

    id: str
    made: int = 0
    refused: int = 0
    equal: int = 0
    survivors: list[tuple[Mutant, Outcome]] = field(default_factory=list)
    unchecked: list[tuple[Mutant, Outcome]] = field(default_factory=list)
    variants: int = 0
    refused_variants: list[tuple[Variant, Outcome]] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)  # listed as equal, and it is not so any more
    seconds: float = 0

    @property
    def score(self) -> float:
        """Percent of the mutants that are not listed as equal which were refused."""
        counted = self.made - self.equal
        return 100 * self.refused / counted if counted else 100

    @property
    def bad(self) -> bool:
        """Whether somebody has to look at it."""
        faults = (self.unchecked, self.refused_variants, self.stale)
        return self.score < EXERCISE_SCORE or any(faults)


class Examination:
    """One exercise under attack."""

    def __init__(self, answers: Answers, place: int, exercise: Exercise) -> None:
        """Args: where answers run, the exercise's place in its notebook, and the exercise."""
        self.answers, self.place, self.exercise = answers, place, exercise
        self.report = Report(answers.notebook.exercise_id(place))
        self.limit = float(LEAST_SECONDS)

    def run(self) -> Report:
        """Try everything and return what came of it.

        Raises:
            LabError: the solution itself is not accepted, before or after.
        """
        began = time.monotonic()
        self.solution()
        for mutant in mutants(self.exercise.solution, self.exercise.starter):
            self.one(mutant)
        self.right_ones()
        self.solution()  # nothing that the mutants did has leaked into it
        self.report.seconds = time.monotonic() - began
        return self.report

    def solution(self) -> None:
        """Run the model solution, which tells how long answers may take."""
        began = time.monotonic()
        found = self.answers.answer(self.place, self.exercise.solution, 120)
        if found.outcome != "correct":
            self.answers.end()
            found = self.answers.answer(self.place, self.exercise.solution, 120)
        if found.outcome != "correct":
            raise LabError(f"{self.report.id}: its solution is {found.outcome}: {found.text}")
        took = time.monotonic() - began
        self.limit = max(LEAST_SECONDS, TIMES_THE_SOLUTION * min(took, 20))

    def one(self, mutant: Mutant) -> None:
        """Run a mutant; what is surprising is run again in a fresh process."""
        self.report.made += 1
        found = self.answers.answer(self.place, mutant.source, self.limit)
        if found.outcome in ("correct", "not checked"):
            self.answers.end()
            found = self.answers.answer(self.place, mutant.source, self.limit)
        if mutant.id in self.exercise.equal:
            self.report.equal += 1
            if found.outcome != "correct":
                self.report.stale.append(f"{mutant.id} is {found.outcome}: {found.text}")
        elif found.outcome == "correct":
            self.report.survivors.append((mutant, found))
        elif found.outcome == "not checked":
            self.report.unchecked.append((mutant, found))
        else:
            self.report.refused += 1

    def right_ones(self) -> None:
        """Run the variants, each of which must be accepted; look for entries without a mutant."""
        exercise = self.exercise
        keep = set(inspect.signature(exercise.check).parameters)
        for variant in variants(exercise.solution, exercise.starter, keep):
            self.report.variants += 1
            found = self.answers.answer(self.place, variant.source, self.limit)
            if found.outcome != "correct":
                self.answers.end()
                found = self.answers.answer(self.place, variant.source, self.limit)
            if found.outcome != "correct":
                self.report.refused_variants.append((variant, found))
        made = {mutant.id for mutant in mutants(exercise.solution, exercise.starter)}
        self.report.stale += [f"{id} is no mutant" for id in exercise.equal if id not in made]


def examine(notebook: Notebook, places: Sequence[int]) -> Iterator[Report]:
    """Yield the reports of exercises of one notebook."""
    with Answers(notebook) as answers:
        for place in places:
            exercise: Exercise = outline.load(notebook.exercises[place - 1]).EXERCISE
            yield Examination(answers, place, exercise).run()


def chosen(words: Sequence[str]) -> dict[str, tuple[Notebook, list[int]]]:
    """Return which exercises words name: `05`, `05b`, `05b-1`; without words all.

    Raises:
        LabError: a word names none.
    """
    found: dict[str, tuple[Notebook, list[int]]] = {}
    unused = set(words)
    for notebook in outline.notebooks():
        for place in range(1, len(notebook.exercises) + 1):
            names = {notebook.lesson, notebook.number, notebook.exercise_id(place)}
            if not words or names & set(words):
                found.setdefault(notebook.number, (notebook, []))[1].append(place)
                unused -= names
    if unused:
        raise LabError(f"There is no exercise {', '.join(sorted(unused))}. Say 05, 05b or 05b-1.")
    return found


def lines_of(report: Report) -> Iterator[str]:
    """Yield what a report says, first its line in the table."""
    yield (
        f"{report.id:7} {report.made:7} {report.refused:7} {report.equal:6} "
        f"{len(report.survivors):9} {len(report.unchecked):9} {report.variants:8} "
        f"{report.score:6.1f} {report.seconds:8.0f}"
    )
    for mutant, _ in report.survivors:
        yield f"    survived  {mutant.id}  line {mutant.line}, {mutant.operator}: {shown(mutant)}"
    for mutant, found in report.unchecked:
        yield f"    could not check  {mutant.id}  {shown(mutant)}: {found.text}"
    for variant, found in report.refused_variants:
        yield f"    right, and {found.outcome}  {variant.name}: {found.text}"
    for words in report.stale:
        yield f"    listed as equal: {words}"


def shown(mutant: Mutant) -> str:
    """Return what a mutant changes, on one line."""
    return f"{mutant.before!r} -> {mutant.after!r}"


HEAD = "id         made refused  equal  survived unchecked variants  score  seconds"


def mutate(arguments: Sequence[str]) -> int:
    """Attack exercises, print a table, and return 1 when one of them is bad.

    `--json=FILE` writes the survivors as data, `--workers=N` sets how many notebooks at once.
    """
    options = dict(word[2:].partition("=")[::2] for word in arguments if word.startswith("--"))
    wanted = chosen([word for word in arguments if not word.startswith("--")])
    workers = int(options.get("workers") or (os.cpu_count() or 1) + 1)
    reports: list[Report] = []
    print(HEAD, flush=True)

    def attack(notebook: Notebook, places: list[int]) -> None:
        try:
            for report in examine(notebook, places):
                reports.append(report)
                print("\n".join(lines_of(report)), flush=True)
        except LabError as problem:
            failed.append(str(problem))
            print(f"    {problem}", flush=True)

    failed: list[str] = []
    began = time.monotonic()
    with own_lab(), ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda pair: attack(*pair), wanted.values()))
    if "json" in options:
        Path(options["json"]).write_text(json.dumps(as_data(reports), indent=1), encoding="utf-8")
    print(*summary(reports, time.monotonic() - began), sep="\n")
    counted = sum(report.made - report.equal for report in reports)
    score = 100 * sum(report.refused for report in reports) / counted if counted else 100
    return int(bool(failed) or score < COURSE_SCORE or any(report.bad for report in reports))


def summary(reports: Sequence[Report], seconds: float) -> Iterator[str]:
    """Yield the last lines: the whole table's sums."""
    made, refused = sum(r.made for r in reports), sum(r.refused for r in reports)
    equal = sum(r.equal for r in reports)
    score = 100 * refused / (made - equal) if made > equal else 100
    yield f"{made} mutants, {refused} refused, {equal} equal: {score:.1f} % in {seconds:.0f} s"
    right, wronged = sum(r.variants for r in reports), sum(len(r.refused_variants) for r in reports)
    yield f"{right} right variants, {wronged} of them refused"


def as_data(reports: Sequence[Report]) -> list[dict[str, object]]:
    """Return the reports as JSON takes them, with the survivors' whole cells."""
    return [
        {
            "id": report.id,
            "score": report.score,
            "survivors": {mutant.id: mutant.source for mutant, _ in report.survivors},
            "unchecked": {mutant.id: mutant.source for mutant, _ in report.unchecked},
            "variants": {variant.name: variant.source for variant, _ in report.refused_variants},
        }
        for report in reports
    ]
