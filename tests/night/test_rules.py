"""The house rules, read from the source: who may import what, who owns which library, what is documented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from jobs.steps import STEPS
from jobs.tables.shop import ALL
from tests.night.nights import REPOSITORY

OURS = ("jobs", "models", "feature_repo", "dags", "tests")
PRODUCT = ("jobs", "models", "feature_repo", "dags")


@cache
def modules() -> dict[str, ast.Module]:
    """Path below the repository -> syntax tree of every module of the product."""
    files = [file for folder in PRODUCT for file in sorted((REPOSITORY / folder).rglob("*.py"))]
    assert len(files) > 60
    return {file.relative_to(REPOSITORY).as_posix(): ast.parse(file.read_text("utf-8")) for file in files}


def imports_of(tree: ast.AST) -> set[str]:
    """Dotted names that a tree imports; `from a import b` counts as a and as a.b."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their whole path"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(tree: ast.AST) -> set[str]:
    """What a tree imports of our own packages."""
    return {name for name in imports_of(tree) if name.split(".")[0] in OURS}


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of the packages or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


DIRECTION = {
    "models": ("models",),
    "jobs": ("jobs", "models"),
    "feature_repo": ("jobs.tables.shop", "feature_repo", "feature_repo.client.bag", "models.popularity"),
    "dags": ("jobs.tables.shop",),
}
FEATURE_READERS = ("jobs/publish/store.py", "jobs/publish/load.py", "jobs/ask/lookup.py", "jobs/serve.py")


@pytest.mark.parametrize("folder", PRODUCT)
def test_imports_point_one_way(folder: str) -> None:
    against = []
    for path, tree in modules().items():
        if path.split("/")[0] != folder:
            continue
        allowed = DIRECTION[folder] + (("feature_repo",) if path in FEATURE_READERS else ())
        against += [f"{path} imports {n}" for n in sorted(own_imports(tree)) if n != "jobs" and not within(n, *allowed)]
    assert against == []


OWNERS = {
    "feast": (
        "jobs/publish/store.py",
        "jobs/serve.py",
        "feature_repo/definitions.py",
        "feature_repo/registry.py",
        "feature_repo/online/feast_store.py",
    ),
    "redis": ("jobs/publish/store.py", "feature_repo/online/redis_backend.py"),
    "sqlite3": ("feature_repo/online/sqlite_backend.py",),
    "faiss": ("models/search/search.py",),
    "numba": tuple(
        f"models/{name}_kernels.py"
        for name in ("assembly_common", "copurchase", "digest", "list", "selection", "settling")
    ),
    "llvmlite": ("models/search/exact_kernels.py", "models/search/device_kernels.py"),
    "transformers4rec": ("models/networks/transformers4rec.py",),
    "matplotlib": ("jobs/report/model/plots.py", "jobs/report/model/plots.py"),  # the second for types alone
    "deltalake": ("jobs/lake/lake.py", "jobs/lake/change_tables.py", "jobs/lake/engine.py"),
    "obstore": ("jobs/lake/storage.py", "jobs/lake/storage.py"),
    "upath": ("jobs/lake/storage.py",),
    "fsspec": ("jobs/lake/storage.py",),
    "pysail": ("jobs/lake/engine.py",),
    "delta": (),
    "airflow": ("dags/nightly_recommendations.py",),
}


@pytest.mark.parametrize("library", OWNERS)
def test_a_heavy_library_has_one_owner(library: str) -> None:
    users = {path for path, tree in modules().items() if any(within(name, library) for name in imports_of(tree))}
    assert users == set(OWNERS[library])


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name as written, call) of every call whose function has a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_delta_is_written_by_its_owners_only() -> None:
    writers = {
        path for path, tree in modules().items() for name, _ in calls(tree)
        if name.endswith(("write_deltalake", "create_write_transaction")) or "write.format('delta')" in name
    }  # fmt: skip
    assert writers == {"jobs/lake/lake.py", "jobs/lake/change_tables.py", "jobs/lake/engine.py"}


def test_compiled_kernels_have_modules_of_their_own() -> None:
    assert [path for path in OWNERS["numba"] if not path.endswith("_kernels.py")] == []


@pytest.mark.parametrize("library", ["transformers4rec", "feast", "matplotlib"])
def test_slow_libraries_are_imported_inside_functions(library: str) -> None:
    # These are Feast objects and nothing else; whoever imports them wants Feast.
    at_once = [
        path for path, tree in modules().items()
        if path not in ("feature_repo/definitions.py", "feature_repo/registry.py", "feature_repo/online/feast_store.py")
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom) and any(within(name, library) for name in imports_of(node))
    ]  # fmt: skip
    assert at_once == []


def test_nothing_is_pickled() -> None:
    libraries = ("pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal")
    importers = [p for p, tree in modules().items() if any(within(name, *libraries) for name in imports_of(tree))]
    callers = [p for p, tree in modules().items() for name, _ in calls(tree) if name in ("torch.load", "torch.save")]
    allowing = [
        p for p, tree in modules().items() for _, call in calls(tree) for keyword in call.keywords
        if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
    ]  # fmt: skip
    assert importers + callers + allowing == []


AMBIENT = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns", "time.monotonic",
    "time.perf_counter", "os.environ", "os.getenv", "os.putenv", "sys.argv",
}  # fmt: skip
ENTRY = ("jobs/__main__.py", "jobs/cli/common.py")
"""`python -m jobs`: the one reader of argument, environment and clock, in two files."""
MAY_READ = {
    (
        "dags/nightly_recommendations.py",
        "os.environ",
    ): "a night's schedule, retries, pools and alerts",
    ("jobs/lake/engine.py", "os.environ"): "JAVA_HOME says whether Spark can be started at all",
    ("jobs/lake/engine.py", "time.monotonic"): "how long Spark's server is waited for",
    ("jobs/lake/locks.py", "time.monotonic"): "how long a lease could not be renewed",
    ("feature_repo/client/nights.py", "time.monotonic"): "how long ago a service looked which night is live",
    ("jobs/nights/airflow.py", "time.monotonic"): "how long a person has waited, for the lines on the terminal",
}


def ambient_reads() -> set[tuple[str, str]]:
    """(module, name) of every mention of a clock, the environment or the arguments."""
    return {
        (path, ast.unparse(node))
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in AMBIENT
    }


def test_nothing_below_the_entry_point_reads_clock_environment_or_arguments() -> None:
    below = {(path, name) for path, name in ambient_reads() if path not in ENTRY}
    assert below == set(MAY_READ), "an exception that is not used any more must go from MAY_READ"
    hidden = [
        f"{path} imports {name}" for path, tree in modules().items() if path not in ENTRY
        for name in imports_of(tree) & (AMBIENT - {"datetime.now"})
    ]  # fmt: skip
    assert hidden == []


def test_the_entry_point_is_where_they_are_read() -> None:
    assert {name for path, name in ambient_reads() if path in ENTRY} >= {"datetime.now", "os.environ"}


def test_no_module_is_longer_than_300_lines() -> None:
    lengths = {path: len((REPOSITORY / path).read_text("utf-8").splitlines()) for path in modules()}
    assert {path: lines for path, lines in lengths.items() if lines > 300} == {}


@pytest.mark.parametrize("module", ["jobs.tables.shop", "jobs.config", "jobs.__main__", "feature_repo.served"])
def test_light_modules_stay_light(module: str) -> None:
    heavy = ("torch", "feast", "transformers4rec", "airflow", "matplotlib", "redis", "sqlite3")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_reading_the_online_store_takes_redis_and_numpy_alone() -> None:
    heavy = ("torch", "feast", "pandas", "pyarrow", "pyspark", "jobs.lake.lake")
    named = "feature_repo.online.reader, feature_repo.online.redis_backend, feature_repo.online.sqlite_backend"
    code = f"import sys, {named}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_tables_are_inert() -> None:
    code = "import sys; before = set(sys.modules); import jobs.tables.shop; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    loaded = {name.split(".")[0] for name in ast.literal_eval(done.stdout)}
    assert loaded <= {"jobs", *sys.stdlib_module_names}


# --- documentation


@cache
def readme() -> str:
    """The README as it stands."""
    return (REPOSITORY / "README.md").read_text("utf-8")


def mentions(word: str) -> bool:
    """Whether the README has the word as code or in a command."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", readme()) is not None


def commands() -> list[str]:
    """Every command of the command line."""
    from typer.main import get_command

    from jobs.cli.app import app

    found: list[str] = list(get_command(app).commands)  # type: ignore[attr-defined]
    return found


def test_every_command_is_in_the_readme() -> None:
    assert set(STEPS) <= set(commands())
    assert [name for name in commands() if not mentions(name)] == []


def test_every_table_is_in_the_readme() -> None:
    assert [table.name for table in ALL if not mentions(table.name)] == []


def test_every_make_target_is_in_the_readme() -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert "night" in targets
    assert [target for target in targets if f"make {target}" not in readme()] == []


def test_every_target_is_phony_and_explained() -> None:
    text = (REPOSITORY / "Makefile").read_text("utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())  # type: ignore[index]
    assert phony == set(re.findall(r"^([a-z]+):.*## ", text, re.MULTILINE))
