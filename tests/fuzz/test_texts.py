"""Texts that people and other systems give: each is understood, or refused in words; nothing else comes out."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.cli.common import Place, check_text, day_of
from jobs.cli.operate import ids_in
from jobs.errors import UserError
from jobs.forget.tables import Spellings
from jobs.ingest.files import RawFile
from jobs.ingest.formats import Findings, format_of
from jobs.ingest.raw_files import list_raw_files
from jobs.ingest.source import Directives, not_a_plain_select, read_source
from jobs.policy.parse import read_rules
from jobs.policy.rules import COLUMNS, KINDS, TOUCH_POINTS
from tests.support.hostile import CELLS, cell, letters, mutated, spliced, table

SQL = (
    "SELECT",
    "FROM",
    "raw",
    "WITH",
    "x",
    "AS",
    "(",
    ")",
    ",",
    ";",
    ";\n",
    "-- events\n",
    "-- catalogue\n",
    "*",
    "1",
    "INSERT",
    "INTO",
    "DROP",
    "TABLE",
    "COPY",
    "csv.`/etc/passwd`",
    "text",
    ".",
    "`a`",
    "'",
    '"',
    "JOIN",
    "WHERE",
    "UNION",
    "ALL",
    "VALUES",
    "reflect",
    "TRANSFORM",
    "USING",
    "'cat'",
    "read_files",
    '--! format = "csv"\n',
    '--! delimiter = ";"\n',
    "--! live_days = 9\n",
    "--! closed_weekdays = [1]\n",
    "--! a = [[[[\n",
    "--! [x]\n",
    "/*",
    "*/",
    "--",
    "\\",
    ":as_of",
)
RULES = (
    *COLUMNS,
    *KINDS,
    *TOUCH_POINTS,
    ",",
    ",",
    ",",
    "\n",
    "\n",
    '"',
    "1",
    "-1",
    "1e5",
    "2026-04-06",
    "0.5",
    "*",
    "GB",
)
POLICY = b"rule_id,kind,attribute,value,amount\na,boost,brand,x,3\nb,exclude,product_id,p1,\nc,bury,category,y,2\n"
Parse = Callable[[Path, random.Random], object]


def each(parse: Parse, seed: int, inputs: int) -> tuple[int, int]:
    """Call `parse` so often with a scratch file; (understood, refused). Anything but UserError is a crash."""
    understood = refused = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given"
        for number in range(inputs):
            rng = random.Random(f"{seed}-{number}")
            try:
                parse(path, rng)
                understood += 1
            except UserError:
                refused += 1
            except BaseException as error:
                raise AssertionError(f"{parse.__name__}, seed {seed}, input {number}: {error!r}") from error
        assert list(Path(folder).iterdir()) in ([path], []), "nothing else is written"
    return understood, refused


def source(path: Path, rng: random.Random) -> None:
    path.write_text(rng.choice(("", "SELECT ", "WITH ", "--! ")) + spliced(rng, SQL, 25), "utf-8", newline="")
    read_source(path)


def source_bytes(path: Path, rng: random.Random) -> None:
    path.write_bytes(
        mutated(rng, b'--! delimiter = ";"\n--! closed_weekdays = ["sunday"]\n-- events\nSELECT a FROM raw;\n')
    )
    read_source(path)


DIRECTIVES = (
    *("format", "delimiter", "quote", "escape", "encoding", "missing", "max_rejected_share", "closed_weekdays"),
    *("live_days", "late_days", "max_file_mb", "x"),
)
ENCODINGS = (
    "utf-8",
    "utf-16",
    "cp1252",
    "shift_jis",
    "base64",
    "rot13",
    "idna",
    "punycode",
    "undefined",
    "utf-7",
    "hex",
)


def directive(path: Path, rng: random.Random) -> None:
    """Directives that are taken can be read by."""
    name = rng.choice(DIRECTIVES)
    values = ('"csv"', '";;"', "1", "-1", "9" * 400, "nan", "inf", "[[1]]", '["sunday", 1]', "{}", "1979-05-27", "0.5")
    more = ("[" * 3000, "true", '""', '"\\""', '"\\n"', json.dumps(cell(rng)), cell(rng), json.dumps([cell(rng)]))
    value = rng.choice((*values, *more, f'"{rng.choice(ENCODINGS)}"', '"~"'))
    path.write_text(f"--! {name} = {value}\nSELECT 1", "utf-8", newline="")
    found = read_source(path).directives
    assert len(found.delimiter) <= 1
    assert date(2026, 4, 6) - timedelta(days=found.live_days)
    path.write_bytes('id,größe\n1,"x"\n'.encode())
    read_rows(path, found)


def read_rows(path: Path, directives: Directives) -> None:
    file = RawFile(path, path.name, "raw", None, path.stat().st_size)
    for _ in format_of(file, directives).batches(file, Findings()):
        pass


def policy(path: Path, rng: random.Random) -> None:
    if rng.random() < 0.5:
        path.write_bytes(mutated(rng, POLICY))
    else:
        path.write_text(spliced(rng, ("rule_id,kind,attribute,value,amount\n", *RULES), 30), "utf-8", newline="")
    read_rules(path)


def day(_path: Path, rng: random.Random) -> None:
    text = rng.choice(
        (cell(rng), f"{rng.randint(0, 99999)}-{rng.randint(0, 13):02}-{rng.randint(0, 32):02}", letters(rng, 10))
    )
    night = day_of(text)
    assert night - timedelta(days=40_000) < night < night + timedelta(days=40_000)


def names(path: Path, rng: random.Random) -> None:
    text = rng.choice((cell(rng), letters(rng, 20), f"\udcff{cell(rng)}", "standard", "quick"))
    check_text([text])
    Place(source=path, raw=path, config=text).settings()


def forgotten_ids(path: Path, rng: random.Random) -> None:
    path.write_bytes(mutated(rng, "C1\nC2\nünï\n".encode()))
    for customer in ids_in(path):
        assert Spellings([customer]).within(f"x {customer} y") or not customer.strip()


TEXTS: tuple[Parse, ...] = (source, source_bytes, directive, policy, day, names, forgotten_ids)


@pytest.mark.parametrize("parse", TEXTS, ids=lambda parse: parse.__name__)
def test_a_text_is_understood_or_refused(parse: Parse) -> None:
    understood, refused = each(parse, seed=1, inputs=400)
    assert understood + refused == 400
    assert refused > 0


@pytest.mark.soak
@pytest.mark.parametrize("parse", TEXTS, ids=lambda parse: parse.__name__)
def test_many_texts_are_understood_or_refused(parse: Parse) -> None:
    understood, refused = each(parse, seed=2, inputs=5_000)
    print(f"{parse.__name__}: {understood:,} understood, {refused:,} refused")


def raw_file(path: Path, rng: random.Random) -> None:
    path.write_bytes(mutated(rng, table("events", rng.randrange(50), 3, 3)))
    read_rows(path, Directives())


@pytest.mark.parametrize("inputs", [300, pytest.param(15_000, marks=pytest.mark.soak)])
def test_a_raw_file_is_read_to_its_end_or_refused(inputs: int) -> None:
    understood, refused = each(raw_file, seed=3, inputs=inputs)
    assert understood > 0
    assert refused > 0


@pytest.mark.parametrize(
    "name", [text for text in CELLS if text and "/" not in text and "\0" not in text and len(text) < 60]
)
def test_a_files_name_is_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.csv").write_text("a\n")
    shop = tmp_path / "shop.sql"
    shop.write_text("SELECT 1")
    if name.startswith((".", "_")) or not name.isprintable():
        with pytest.raises(UserError, match="holds no file that can be read"):
            list_raw_files(tmp_path, read_source(shop))
    else:
        assert [file.name for file in list_raw_files(tmp_path, read_source(shop)).files] == [f"{name}.csv"]


# --- a source reads the raw files' views, and nothing else


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1; DROP TABLE raw",
        "WITH x AS (SELECT 1) INSERT INTO y SELECT * FROM x",
        "with x as (select 1) , z as (select 2) delete from y",
        "WITH x AS (SELECT 1) FROM x INSERT INTO y SELECT *",
        "WITH x AS (SELECT 1)",
        "SELECT * FROM csv.`/etc/passwd`",
        "SELECT * FROM raw, text . `/etc/passwd`",
        "SELECT * FROM (SELECT * FROM parquet.`x`)",
        "SELECT * FROM delta.`/tmp/t` VERSION AS OF 1",
        "SELECT * FROM other.secrets",
        "SELECT * FROM raw JOIN information_schema.tables ON 1 = 1",
        "SELECT * FROM (raw, other.secrets)",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_files('/etc/passwd')",
        "SELECT a FROM raw UNION ALL SELECT * FROM read_csv('/etc/passwd')",
        "SELECT reflect('java.lang.Runtime', 'exit')",
        "SELECT JAVA_METHOD ('a', 'b')",
        "SELECT TRANSFORM(a) USING 'cat /etc/passwd' FROM raw",
        "SELECT 'open",
        "SELECT /* csv */ * FROM /* x */ csv /* y */ . /* z */ `/etc/passwd`",
    ],
)
def test_a_source_that_does_more_is_refused(text: str) -> None:
    assert not_a_plain_select(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a.b, `c d`, 'x;y', \"a -- b\" FROM raw a JOIN events AS e USING (id) WHERE a.b > 1",
        "WITH a AS (SELECT * FROM raw), b (c) AS (SELECT 1) SELECT * FROM a, b WHERE extract(day FROM a.ts) = 1",
        "SELECT trim(BOTH 'x' FROM r.name), substring(r.name FROM 1 FOR 2) FROM raw r",
        "SELECT transform(split(a, ';'), x -> x || '!') AS t FROM raw LATERAL VIEW explode(split(b, ',')) t AS c",
        "SELECT * FROM raw, LATERAL (SELECT raw.a) CROSS JOIN range(3)",
        "SELECT csv.name, text.b FROM csv, text WHERE csv.id IN (SELECT id FROM text)",
        "SELECT * FROM (VALUES (1, 'a')) AS t (x, y)",
        "SELECT CASE WHEN a IS DISTINCT FROM r.b THEN 1 END FROM raw r",
    ],
)
def test_a_source_that_only_selects_is_taken(text: str) -> None:
    assert not_a_plain_select(text) is None


# --- the command line


@pytest.mark.parametrize("seed", range(40))
def test_the_command_line_refuses_in_words(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    monkeypatch.chdir(tmp_path)
    given = [rng.choice([text for text in CELLS if "\0" not in text]) for _ in range(7)]
    environment = dict(
        zip(
            (
                "NIGHTRAIL_ENGINE",
                "NIGHTRAIL_CONFIG",
                "NIGHTRAIL_SET",
                "NIGHTRAIL_SOURCE",
                "NIGHTRAIL_RAW",
                "NIGHTRAIL_FEATURE_STORE",
                "NIGHTRAIL_ALLOW_EMPTY_DAY",
            ),
            given,
            strict=True,
        )
    )
    dates = [rng.choice(["2026-04-06", *CELLS]), "2026-04-06"]
    command = rng.choice(
        (["ingest", "--as-of"], ["gate", "--as-of"], ["rollback", "--to"], ["policy", "--show", "--as-of"])
    )
    arguments = [*command, dates[seed % 2], "--root", str(tmp_path / "lake")]
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code != 0 or command[0] == "policy"
    assert result.exception is None or isinstance(result.exception, UserError | SystemExit), repr(result.exception)
