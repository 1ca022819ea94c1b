"""Mutants and variants of solutions, by example and over all exercises; without a server."""

from __future__ import annotations

import ast
import inspect

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from helpers import outline
from helpers.commands.mutants import keeps, mutants, scaffolding, sql, unparsed
from helpers.commands.mutants.change import Cell
from helpers.commands.mutants.variants import variants
from helpers.exercises import Exercise

EXERCISES = {
    notebook.exercise_id(place): outline.load(file).EXERCISE
    for notebook in outline.notebooks()
    for place, file in enumerate(notebook.exercises, start=1)
}

# Each operator with a cell and exactly what it makes of it.
PYTHON = [
    ("statement left out", "a()\nb()", ["pass\nb()", "a()\npass"]),
    ("value None", "x = f(1)", ["x = None"]),
    ("awaited work left out", "await f()", ["pass"]),
    ("awaited work left out", "x = await f()", ["x = None"]),
    ("await left out", "x = await f()", ["x = f()"]),
    ("condition negated", "if a > 1:\n    b()", ["if not (a > 1):\n    b()"]),
    ("condition negated", "while a:\n    b()", ["while not (a):\n    b()"]),
    ("condition left out", "if a:\n    b()", ["if True:\n    b()"]),
    ("condition left out", "x = [n for n in a if n]", ["x = [n for n in a if True]"]),
    ("condition left out", "x = a and b", ["x = b", "x = a"]),
    ("comparison changed", "x = a < b", ["x = a <= b", "x = a > b"]),
    ("comparison changed", "x = a >= b", ["x = a > b", "x = a <= b"]),
    ("comparison changed", "x = a == b", ["x = a != b"]),
    ("comparison changed", "x = a is not None", ["x = a is None"]),
    ("comparison changed", "x = a not in b", ["x = a in b"]),
    ("and and or exchanged", "x = a and b", ["x = a or b"]),
    ("constant changed", "x = 5", ["x = 6", "x = 4", "x = 0"]),
    ("constant changed", "x = True", ["x = False"]),
    ("constant changed", "x = 'a'", ['x = ""']),
    ("default changed", "def f(a=2):\n    g(a)", [f"def f(a={n}):\n    g(a)" for n in (3, 1, 0)]),
    ("empty", "x = [a]", ["x = []"]),
    ("empty", "x = {a: b}", ["x = {}"]),
    ("item left out", "x = [a, b]", ["x = [b]", "x = [a]"]),
    ("item left out", "x = a, b", ["x = (b,)", "x = (a,)"]),
    ("argument left out", "f(a, b)", ["f(b)", "f(a)"]),
    ("keyword argument left out", "f(a, b=c)", ["f(a)"]),
    ("arguments swapped", "f(a, b)", ["f(b, a)"]),
    ("arithmetic changed", "x = a - b", ["x = a + b"]),
    ("arithmetic changed", "a -= b", ["a += b"]),
    ("assigned instead of added", "a += b", ["a = b"]),
    ("operand left out", "x = a * b", ["x = a"]),
    ("sign or not left out", "x = not a", ["x = a"]),
    ("one branch only", "x = a if b else c", ["x = a", "x = c"]),
    ("bound left out", "x = a[b:c]", ["x = a[:c]", "x = a[b:]"]),
    ("call around left out", "x = sorted(a)", ["x = a"]),
    ("call in a chain left out", "x = a.f().g()", ["x = a.f()"]),
    ("function exchanged", "db.commit()", ["db.rollback()"]),
    ("value left out", 'f(f"a:{b}")', ['f(f"a:")']),
    ("break and continue exchanged", "while a:\n    break", ["while a:\n    continue"]),
    ("with left out", "with a() as b:\n    b.c()", ["b = a()\nif True:\n    b.c()"]),
    ("with left out", "async with a() as b:\n    b.c()", ["b = a()\nif True:\n    b.c()"]),
    ("except left out", "try:\n    a()\nexcept E:\n    b()", ["if True:\n    a()"]),
    (
        "wider except",
        "try:\n    a()\nexcept E:\n    b()",
        ["try:\n    a()\nexcept Exception:\n    b()"],
    ),
    ("finally left out", "try:\n    a()\nfinally:\n    b()", ["if True:\n    a()"]),
    (
        "finally left out",
        "try:\n    a()\nexcept E:\n    c()\nfinally:\n    b()",
        ["try:\n    a()\nexcept E:\n    c()"],
    ),
    (
        "return of another branch",
        "def f(a):\n    if a:\n        return True\n    return b(a)",
        ["def f(a):\n    if a:\n        return True\n    return True"],
    ),
    ("None returned", "def f(a):\n    return a", ["def f(a):\n    return None"]),
    ("return instead of raise", "def f():\n    raise E", ["def f():\n    return"]),
    ("only once", "while a:\n    b()", ["if a:\n    b()"]),
    ("only once", "for a in b:\n    c()", ["for a in list(b)[:1]:\n    c()"]),
    ("after the loop", "for a in b:\n    c()\n    d()", ["for a in b:\n    c()\nd()"]),
    ("call around left out", "x = min(a, b)", ["x = a", "x = b"]),
    ("call around left out", "x = clean(a)", ["x = a"]),
    ("attribute or index left out", "def f(a):\n    return a.b", ["def f(a):\n    return a"]),
    ("decorator left out", "@a\ndef f():\n    b()", ["\ndef f():\n    b()"]),
]
DOCUMENTS = [
    ("stage left out", '[{"$match": a}, {"$limit": b}]', ['[{"$limit": b}]', '[{"$match": a}]']),
    ("stages swapped", '[{"$match": a}, {"$limit": b}]', ['[{"$limit": b}, {"$match": a}]']),
    ("operator exchanged", '{"$lt": a}', ['{"$lte": a}', '{"$gt": a}']),
    ("operator exchanged", '{"$sum": a}', ['{"$avg": a}']),
    ("operator exchanged", '{"$addToSet": a}', ['{"$push": a}']),
    ("key left out", '{"a": b, "c": d}', ['{"c": d}', '{"a": b}']),
    ("key left out", '{"a": b, **c}', ["{**c}", '{"a": b}']),
    ("option exchanged", '{"whenMatched": "merge"}',
     ['{"whenMatched": "replace"}', '{"whenMatched": "keepExisting"}']),
    ("$min left out", '{"$min": [a, b]}', ["a"]),
    ("one branch only", '{"$cond": [a, b, c]}', ["b", "c"]),
    ("value of another key", 'x = {a: "b", c: "d"}',
     ['x = {a: "d", c: "d"}', 'x = {a: "b", c: "b"}']),
    ("sort direction turned", '{"$sort": {"a": -1}}', ['{"$sort": {"a": 1}}']),
    ("sort direction turned", 'f([("a", 1)])', ['f([("a", -1)])']),
    ("sort direction turned", 'f(a).sort("b", -1)', ['f(a).sort("b", 1)']),
    ("item left out", 'f([("a", 1), ("b", 1)])', ['f([("b", 1)])', 'f([("a", 1)])']),
    ("upsert flipped", "f(upsert=True)", ["f(upsert=False)"]),
    ("unique flipped", '{"unique": True}', ['{"unique": False}']),
    ("option exchanged", "f(a, ex=b)", ["f(a, px=b)"]),
    ("keyword argument left out", "f(a, b, nx=True)", ["f(a, b)"]),
    ("command's option left out", 'f("SET", k, v, "PX", t)', ['f("SET", k, v)']),
    ("command's option left out", 'f("SET", k, v, "NX", "EX", t)',
     ['f("SET", k, v, "EX", t)', 'f("SET", k, v, "NX")']),
]  # fmt: skip
SQL = [
    ("WHERE left out", "SELECT a FROM t WHERE b = %s", ["SELECT a FROM t"]),
    ("condition left out", "SELECT a FROM t WHERE b = %s AND c > d",
     ["SELECT a FROM t WHERE c > d", "SELECT a FROM t WHERE b = %s"]),
    ("condition left out", "SELECT a FROM t WHERE b BETWEEN c AND d AND e",
     ["SELECT a FROM t WHERE e", "SELECT a FROM t WHERE b BETWEEN c AND d"]),
    ("condition left out", "SELECT a FROM t JOIN u ON b = c", ["SELECT a FROM t JOIN u ON true"]),
    ("AND and OR exchanged", "SELECT a FROM t WHERE b AND c", ["SELECT a FROM t WHERE b OR c"]),
    ("comparison changed", "SELECT a FROM t WHERE b < c",
     ["SELECT a FROM t WHERE b <= c", "SELECT a FROM t WHERE b > c"]),
    ("NULL test negated", "SELECT a FROM t WHERE b IS NULL",
     ["SELECT a FROM t WHERE b IS NOT NULL"]),
    ("DISTINCT left out", "SELECT DISTINCT a FROM t", ["SELECT a FROM t"]),
    ("DISTINCT left out", "SELECT DISTINCT ON (a, b) c FROM t", ["SELECT c FROM t"]),
    ("DISTINCT left out", "SELECT count(DISTINCT a) FROM t", ["SELECT count(a) FROM t"]),
    ("HAVING left out", "SELECT a FROM t GROUP BY a HAVING count(*) > b",
     ["SELECT a FROM t GROUP BY a"]),
    ("ORDER BY left out", "SELECT a FROM t ORDER BY b, c DESC", ["SELECT a FROM t"]),
    ("ORDER BY key left out", "SELECT a FROM t ORDER BY b, c DESC",
     ["SELECT a FROM t ORDER BY c DESC", "SELECT a FROM t ORDER BY b"]),
    ("ORDER BY turned", "SELECT a FROM t ORDER BY b, c DESC",
     ["SELECT a FROM t ORDER BY b DESC, c DESC", "SELECT a FROM t ORDER BY b, c ASC"]),
    ("NULLS left out", "SELECT a FROM t ORDER BY b NULLS FIRST", ["SELECT a FROM t ORDER BY b"]),
    ("LIMIT left out", "SELECT a FROM t LIMIT %s OFFSET %s", ["SELECT a FROM t OFFSET %s"]),
    ("OFFSET left out", "SELECT a FROM t LIMIT %s OFFSET %s", ["SELECT a FROM t LIMIT %s"]),
    ("coalesce left out", "SELECT coalesce(a, b) FROM t", ["SELECT a FROM t"]),
    ("GROUP BY column left out", "SELECT a FROM t GROUP BY a, b",
     ["SELECT a FROM t GROUP BY b", "SELECT a FROM t GROUP BY a"]),
    ("join changed", "SELECT a FROM t LEFT JOIN u USING (b)", ["SELECT a FROM t JOIN u USING (b)"]),
    ("aggregate exchanged", "SELECT sum(a) FROM t", ["SELECT avg(a) FROM t"]),
    ("aggregate exchanged", "SELECT count(a) FROM t", ["SELECT count(*) FROM t"]),
    ("row lock left out", "SELECT a FROM t FOR UPDATE SKIP LOCKED", ["SELECT a FROM t"]),
    ("SKIP LOCKED left out", "SELECT a FROM t FOR UPDATE SKIP LOCKED",
     ["SELECT a FROM t FOR UPDATE"]),
    ("NOT NULL left out", "CREATE TABLE t (a int NOT NULL)", ["CREATE TABLE t (a int)"]),
    ("UNIQUE left out", "CREATE TABLE t (a int UNIQUE)", ["CREATE TABLE t (a int)"]),
    ("DEFAULT left out", "CREATE TABLE t (a int DEFAULT now() NOT NULL)",
     ["CREATE TABLE t (a int NOT NULL)"]),
    ("CHECK left out", "CREATE TABLE t (a int CHECK (a > b))", ["CREATE TABLE t (a int)"]),
    ("key column left out", "ALTER TABLE t ADD UNIQUE (a, b)",
     ["ALTER TABLE t ADD UNIQUE (b)", "ALTER TABLE t ADD UNIQUE (a)"]),
    ("index key left out", "CREATE INDEX ON t (a, b)",
     ["CREATE INDEX ON t (b)", "CREATE INDEX ON t (a)"]),
    ("action left out", "ALTER TABLE t DROP a, ADD b int",
     ["ALTER TABLE t ADD b int", "ALTER TABLE t DROP a"]),
    ("CONCURRENTLY left out", "CREATE INDEX CONCURRENTLY i ON t (a)", ["CREATE INDEX i ON t (a)"]),
    ("NOT VALID left out", "ALTER TABLE t ADD CHECK (a) NOT VALID",
     ["ALTER TABLE t ADD CHECK (a)"]),
    ("another isolation level", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
     ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED"]),
    ("REFERENCES left out", "CREATE TABLE t (a int REFERENCES u (b))", ["CREATE TABLE t (a int)"]),
    ("column or constraint left out", "CREATE TABLE t (a int, CHECK (a > b))",
     ["CREATE TABLE t (CHECK (a > b))", "CREATE TABLE t (a int)"]),
    ("FILTER left out", "SELECT count(*) FILTER (WHERE a) FROM t", ["SELECT count(*) FROM t"]),
    ("cast left out", "SELECT a::text FROM t", ["SELECT a FROM t"]),
    ("PARTITION BY left out", "SELECT a() OVER (PARTITION BY b ORDER BY c) FROM t",
     ["SELECT a() OVER (ORDER BY c) FROM t"]),
    ("RETURNING left out", "DELETE FROM t WHERE a = b RETURNING c", ["DELETE FROM t WHERE a = b"]),
    ("ON CONFLICT left out",
     "INSERT INTO t (a) VALUES (%s) ON CONFLICT (a) DO NOTHING RETURNING b",
     ["INSERT INTO t (a) VALUES (%s) RETURNING b"]),
    ("assignment left out", "UPDATE t SET a = b, c = d",
     ["UPDATE t SET c = d", "UPDATE t SET a = b"]),
    ("ON DELETE changed", "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u ON DELETE CASCADE",
     ["ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u",
      "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u ON DELETE SET NULL"]),
    ("constant changed", "SELECT 5 FROM t",
     ["SELECT 6 FROM t", "SELECT 4 FROM t", "SELECT 0 FROM t"]),
    ("constant changed", "SET lock_timeout = '500ms'",
     ["SET lock_timeout = '0ms'", "SET lock_timeout = '5000ms'"]),
    ("constant changed", "SELECT setweight(a, 'B') FROM t",
     ["SELECT setweight(a, 'A') FROM t", "SELECT setweight(a, 'D') FROM t"]),
    ("function exchanged", "SELECT to_tsquery('simple', a)",
     ["SELECT plainto_tsquery('simple', a)", "SELECT websearch_to_tsquery('simple', a)"]),
    ("USING left out", "CREATE INDEX ON t USING gin (a)", ["CREATE INDEX ON t (a)"]),
    ("USING left out", "ALTER TABLE t ALTER a TYPE b USING c(a), DROP d",
     ["ALTER TABLE t ALTER a TYPE b, DROP d"]),
    ("statement left out", "SET a = b; SELECT c", ["SELECT c", "SET a = b;"]),
    ("event left out", "CREATE TRIGGER a BEFORE INSERT OR UPDATE ON t EXECUTE FUNCTION f()",
     ["CREATE TRIGGER a BEFORE UPDATE ON t EXECUTE FUNCTION f()",
      "CREATE TRIGGER a BEFORE INSERT ON t EXECUTE FUNCTION f()"]),
]  # fmt: skip
LUA = [
    ("Lua: line left out", "redis.call('DEL', k)\nreturn a",
     ["\nreturn a", "redis.call('DEL', k)\n"]),
    ("Lua: option left out", "redis.call('SET', k, v, 'PX', t)", ["redis.call('SET', k, v)"]),
    ("Lua: argument left out", "redis.call('ZADD', k, a, b)",
     ["redis.call('ZADD', k, b)", "redis.call('ZADD', k, a)"]),
    ("Lua: condition negated", "if redis.call('GET', k) then return a end",
     ["if not (redis.call('GET', k)) then return a end"]),
    ("Lua: exchanged", "return redis.call('GET', k) ~= a", ["return redis.call('GET', k) == a"]),
    ("Lua: exchanged", "return a < redis.call('GET', k)",
     ["return a <= redis.call('GET', k)", "return a > redis.call('GET', k)"]),
    ("Lua: command exchanged", "redis.call('EXPIRE', k, t)", ["redis.call('PEXPIRE', k, t)"]),
    ("Lua: function left out", "redis.call('SET', k, math.min(a, b))",
     ["redis.call('SET', k, a)", "redis.call('SET', k, b)"]),
    ("Lua: constant changed", "redis.call('EXPIRE', k, 9)",
     [f"redis.call('EXPIRE', k, {n})" for n in (10, 8, 0)]),
]  # fmt: skip


def made(operator: str, cell: str, starter: str = "") -> list[str]:
    """Return the cells that an operator makes of a cell, in any order."""
    return sorted(m.source for m in mutants(cell, starter) if m.operator == operator)


@pytest.mark.parametrize(("operator", "cell", "wanted"), [*PYTHON, *DOCUMENTS])
def test_python_by_example(operator: str, cell: str, wanted: list[str]) -> None:
    assert made(operator, cell) == sorted(wanted)


@pytest.mark.parametrize(("operator", "text", "wanted"), [*SQL, *LUA])
def test_text_in_a_string_by_example(operator: str, text: str, wanted: list[str]) -> None:
    assert made(operator, f'x = """{text}"""') == sorted(f'x = """{new}"""' for new in wanted)


@pytest.mark.parametrize("placeholder", ["%s", "%(name)s", ":name", "$1", "{name}"])
def test_placeholders_survive(placeholder: str) -> None:
    prefix = "f" if "{" in placeholder else ""
    cell = f'q = {prefix}"SELECT a FROM t WHERE b %% {placeholder} AND c = 1 ORDER BY a LIMIT 2"'
    found = mutants(cell, "")
    assert {"WHERE left out", "LIMIT left out", "ORDER BY left out"} <= {m.operator for m in found}
    assert f"b %% {placeholder} ORDER" in " ".join(m.source for m in found)
    losing = [m for m in found if placeholder not in m.source]
    assert {m.operator for m in losing} <= {
        *("WHERE left out", "condition left out", "value None", "value left out")
    }
    assert not unparsed(cell)


def test_sql_of_magics() -> None:
    assert "%%sql\nSELECT a FROM t" in made("LIMIT left out", "%%sql\nSELECT a FROM t LIMIT 3")
    assert made("LIMIT left out", "x = %sql SELECT a FROM t LIMIT 3") == [
        "x = %sql SELECT a FROM t"
    ]
    assert "%sql SELECT a\nb()" not in made("statement left out", "%sql SELECT a\nb()")
    assert "pass\nb()" in made("statement left out", "%sql SELECT a\nb()")


def test_sql_in_pieces_and_with_escapes() -> None:
    assert made("LIMIT left out", 'f("SELECT a "\n  "FROM t LIMIT 3")') == ["f('SELECT a FROM t')"]
    assert made("LIMIT left out", r'f("SELECT \"a\" FROM t LIMIT 3")') == [
        """f('SELECT "a" FROM t')"""
    ]


def test_sql_that_is_not_parsed_is_changed_too() -> None:
    cell = 'f("ALTER TABLE t ADD CHECK (a BETWEEN 1 AND 100)")'
    assert unparsed(cell) == ["ALTER TABLE t ADD CHECK (a BETWEEN 1 AND 100)"]
    assert 'f("ALTER TABLE t ADD CHECK (true)")' in made("condition left out", cell)


def test_a_function_s_body_is_sql() -> None:
    step = "IF NEW.a < OLD.a THEN\n    NEW.b := coalesce(NEW.b, 1);\n  END IF;"
    body = f"BEGIN\n  {step}\n  RETURN NEW;\nEND"
    cell = f'f("""CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$""")'
    found = {(m.operator, m.before) for m in mutants(cell, "")}
    assert ("coalesce left out", "coalesce(NEW.b, 1)") in found
    assert ("statement left out", "NEW.b := coalesce(NEW.b, 1);") in found
    assert ("comparison changed", "<") in found


def test_english_is_not_sql() -> None:
    for words in (
        "update the row",
        "select",
        "create one first",
        "a set of rows",
        "Select one",
        "with it as is",
    ):
        assert sql.texts(Cell(f"x = {words!r}")) == []


def test_nothing_of_the_starter_is_changed() -> None:
    starter = "ex1.start()\n\nlimit = 10\nrows = ...  # a list\n\nawait ex1.check()\n"
    solution = starter.replace("...", "[n for n in a if n > 5]")
    found = mutants(solution, starter)
    assert {m.line for m in found} == {4}
    assert all("limit = 10\n" in m.source and "\nawait ex1.check()" in m.source for m in found)


def test_a_mutant_says_what_and_where() -> None:
    [mutant] = [m for m in mutants("a()\nb(x < y)\n", "") if m.after == "<="]
    assert (mutant.operator, mutant.line, mutant.before) == ("comparison changed", 2, "<")


def test_ids_outlive_edits_elsewhere() -> None:
    cell = 'a()\nf(x < 1)\nc("SELECT a FROM t LIMIT 3")\na()\n'
    ids = {(m.operator, m.after): m.id for m in mutants(cell, "")}
    edited = "import math\n\n\nz = 5\n" + cell.replace("f(x < 1)", "f(x <  1)")
    again = {m.id for m in mutants(edited, "")}
    assert ids["comparison changed", "<="] in again
    assert ids["LIMIT left out", ""] in again
    assert len(set(ids.values())) == len(ids)
    twins = [m.id for m in mutants(cell, "") if m.before == "a()"]
    assert twins[1] == f"{twins[0]}-2"


RIGHT = [
    ("local names changed", "def f(a):\n    b = a\n    return b",
     "def f(a):\n    b_ = a\n    return b_"),
    ("names of the cell changed", "a = 1\ndef f():\n    return a",
     "a_ = 1\ndef f():\n    return a_"),
    ("independent statements reordered", "a = 1\nb = 2", "b = 2\na = 1"),
    ("f-string written otherwise", 'x = f"a:{b}%"', 'x = ("a:%s%%" % (b,))'),
    ("f-string written otherwise", 'x = f"a:{b}"', 'x = "a:{}".format(b)'),
    ("SQL written otherwise", 'x = "SELECT a FROM t WHERE b = %s"',
     'x = "WITH found AS (SELECT a FROM t WHERE b = %s) SELECT * FROM found"'),
    ("SQL written otherwise", 'x = "WITH a AS (SELECT b FROM t) SELECT b FROM a"',
     'x = "SELECT b FROM (SELECT b FROM t) AS a"'),
    ("SQL written otherwise", 'x = "SELECT b FROM (SELECT b FROM t) AS a ORDER BY b"',
     'x = "WITH a AS (SELECT b FROM t) SELECT b FROM a AS a ORDER BY b"'),
    ("commit and autocommit exchanged", "c = pg.connect()\nc.execute(a)\nc.commit()",
     "c = pg.connect()\nc.autocommit = True\nc.execute(a)\npass"),
    ("commit and autocommit exchanged", "c = pg.connect(autocommit=True)\nc.execute(a)",
     "c = pg.connect(autocommit=True)\nc.autocommit = False\nc.execute(a)\nc.commit()"),
    ("list() around a list", "def f():\n    return [a for a in b]",
     "def f():\n    return list(a for a in b)"),
    ("rows as tuples", "def f():\n    return c.execute(a).fetchall()",
     "def f():\n    return [tuple(row) for row in c.execute(a).fetchall()]"),
    ("fetchall and iteration exchanged", "x = c.execute(a).fetchall()", "x = list(c.execute(a))"),
    ("fetchall and iteration exchanged", "for b in c.execute(a):\n    d(b)",
     "for b in c.execute(a).fetchall():\n    d(b)"),
    ("comments and blank lines", "a()\nb()", "\n# The next step.\na()\n\n# The next step.\nb()"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cell", "wanted"), RIGHT)
def test_right_variants_by_example(name: str, cell: str, wanted: str) -> None:
    assert wanted in [v.source for v in variants(cell, "", set()) if v.name == name]


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("def f(a):\n    b = a\n    return f'{b:>3}'", "a name inside of an f-string"),
        ("def f(a):\n    return a", "a parameter"),
        ("a = 1\nb = a", "the second reads the first"),
        ("a = f()\nb = g()", "calls can have effects"),
        ("x = f'{a:>3}'", "a format"),
        ("x = 'SELECT a FROM t ORDER BY a'", "an order"),
        ("x = 'SELECT a FROM t FOR UPDATE'", "a lock"),
        ("c = pg.connect(autocommit=True)\nc.execute('VACUUM t')", "not in a transaction"),
    ],
)
def test_no_variant_where_it_could_differ(cell: str, why: str) -> None:
    found = [v for v in variants(cell, "", set("abcx")) if v.name != "comments and blank lines"]
    assert not found, why


def compiles(source: str) -> bool:
    """Whether IPython takes a cell."""
    code = TransformerManager().transform_cell(source)
    compile(code, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return True


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_every_exercise_has_mutants(exercise: Exercise) -> None:
    found = mutants(exercise.solution, exercise.starter)
    given = scaffolding(exercise.solution, exercise.starter)
    assert len(found) >= 3
    assert all(compiles(m.source) and keeps(m.source, given) for m in found)
    assert len({m.source for m in found} | {exercise.solution}) == len(found) + 1
    assert len({m.id for m in found}) == len(found)


@pytest.mark.parametrize("id", ["00-1", "01a-1", "02e-1", "03-2", "04d-1", "05b-1", "06h-1"])
def test_the_same_mutants_in_the_same_order_every_time(id: str) -> None:
    exercise = EXERCISES[id]
    found = mutants(exercise.solution, exercise.starter)
    assert found == mutants(exercise.solution, exercise.starter)
    assert [m.line for m in found] == sorted(m.line for m in found)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_every_exercise_has_right_variants(exercise: Exercise) -> None:
    keep = set(inspect.signature(exercise.check).parameters)
    found = variants(exercise.solution, exercise.starter, keep)
    given = scaffolding(exercise.solution, exercise.starter)
    assert found
    assert all(compiles(v.source) and keeps(v.source, given) for v in found)
