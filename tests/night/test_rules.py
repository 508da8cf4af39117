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
from tests.support.repository import REPOSITORY

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


ROOMS = (
    ("jobs.errors", "jobs.text", "jobs.steps", "jobs.tables", "jobs.settings", "models", "jobs.sample_shop"),
    ("jobs.run", "feature_repo"),
    ("jobs.lake",),
    (
        "jobs.policy",
        "jobs.model_inputs",
        "jobs.networks",
        "jobs.checks",
        "jobs.sequences",
        "jobs.index_manifest",
        "jobs.outcomes",
    ),
    ("jobs.ingest", "jobs.train", "jobs.embed", "jobs.index", "jobs.experiments"),
    ("jobs.lists",),
    ("jobs.audiences",),
    ("jobs.gate",),
    ("jobs.publish", "jobs.report"),
    ("jobs.clean", "jobs.forget", "jobs.ask", "jobs.serve"),
    ("jobs.config",),
    ("jobs.nights",),
    ("jobs.cli",),
    ("jobs.__main__", "dags"),
)
"""The rooms from the ground floor up. A room imports its own floor, without a circle, and the floors below it."""
ALONE = {
    "models": ("models",),
    "jobs.tables": ("jobs.tables",),
    "jobs.steps": (),
    "feature_repo": ("feature_repo", "jobs.tables"),
    "feature_repo.client": ("feature_repo.client", "feature_repo.online"),
    "feature_repo.online": ("feature_repo.online",),
    "dags": ("jobs.steps",),
}
"""Package that is used without the rest -> all that it may import of the product."""


def module_of(path: str) -> str:
    """The dotted name of a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room_of(name: str) -> str:
    """The room that a module belongs to."""
    rooms = [room for floor in ROOMS for room in floor if within(name, room)]
    assert rooms, f"{name} is in no room: add it to ROOMS"
    return max(rooms, key=len)


@cache
def graph_of_modules() -> dict[str, set[str]]:
    """Module -> modules of the product that it imports, inside functions and for type checkers too."""
    names = {module_of(path) for path in modules()}

    def imported(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in names else str(node.module)

    return {
        module_of(path): {name for node in ast.walk(tree) for name in imported(node)} & names - {"jobs"}
        for path, tree in modules().items()
        if path != "jobs/__init__.py"
    }


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other."""

    def reached(node: str) -> set[str]:
        found, left = set[str](), [node]
        while left:
            more = graph[left.pop()] - found
            found |= more
            left += more
        return found

    of = {node: reached(node) for node in graph}
    return sorted({tuple(sorted(o for o in of[n] if n in of[o])) for n in graph if n in of[n]})


def test_no_file_is_in_a_circle_of_imports() -> None:
    assert circles(graph_of_modules()) == []


def test_no_room_is_in_a_circle_of_imports() -> None:
    graph: dict[str, set[str]] = {room: set() for floor in ROOMS for room in floor}
    for module, imported in graph_of_modules().items():
        graph[room_of(module)] |= {room_of(name) for name in imported} - {room_of(module)}
    assert circles(graph) == []


def test_no_room_imports_a_higher_floor() -> None:
    floor = {room: height for height, rooms in enumerate(ROOMS) for room in rooms}
    upwards = [
        f"{module} imports {name}"
        for module, imported in graph_of_modules().items()
        for name in sorted(imported)
        if floor[room_of(name)] > floor[room_of(module)]
    ]
    assert upwards == []


@pytest.mark.parametrize("package", ALONE)
def test_a_package_that_is_used_alone_imports_nothing_else(package: str) -> None:
    against = [
        f"{module} imports {name}"
        for module, imported in graph_of_modules().items()
        for name in sorted(imported)
        if within(module, package) and not within(name, *ALONE[package])
        # Feast's adapter lies where Feast's settings name it; a wheel of client and store leaves it out.
        if package != "feature_repo.online" or module != "feature_repo.online.feast_store"
    ]
    assert against == []


FACES = ("feature_repo/client/__init__.py", "jobs/sample_shop/__init__.py")
"""Packages that others use by the package's own name."""


def test_the_init_of_a_room_is_one_sentence() -> None:
    inits = {path: tree for path, tree in modules().items() if path.endswith("__init__.py") and path not in FACES}
    assert [path for path, tree in inits.items() if len(tree.body) != 1 or not ast.get_docstring(tree)] == []


def test_jobs_has_few_files_beside_its_rooms() -> None:
    assert len([path for path in modules() if path.startswith("jobs/") and path.count("/") == 1]) <= 15


def test_every_module_begins_with_one_plain_sentence() -> None:
    def plain(tree: ast.Module) -> bool:
        first = (ast.get_docstring(tree) or "x").split("\n\n")[0].splitlines()[0]
        return first.endswith(".") and first.split()[0] not in ("What", "Who", "Whether", "Which", "How", "Where")

    product = {path: tree for path, tree in modules().items() if not path.startswith("dags/")}
    assert [path for path, tree in product.items() if not plain(tree)] == []


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_no_function_has_more_than_eight_parameters() -> None:
    long = [
        f"{path}: {node.name}"
        for path, tree in modules().items()
        if not path.startswith("jobs/cli/") and not path.endswith("kernels.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and len([one for one in ast.walk(node.args) if isinstance(one, ast.arg) and one.arg != "self"]) > 8
    ]
    assert long == []


def test_the_formatter_stays_on() -> None:
    texts = [(REPOSITORY / path).read_text("utf-8") for path in modules()]
    assert sum(text.count("# fmt: skip") + text.count("# fmt: off") for text in texts) < 40


def test_types_are_named() -> None:
    named = [n for tree in modules().values() for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "Any"]
    assert len(named) < 200


OWNERS = {
    "feast": (
        "jobs/ask/offline_store.py",
        "jobs/publish/store.py",
        "jobs/serve/feast_server.py",
        "feature_repo/definitions.py",
        "feature_repo/registry.py",
        "feature_repo/online/feast_store.py",
    ),
    "redis": ("jobs/publish/store.py", "feature_repo/online/redis_backend.py"),
    "sqlite3": ("feature_repo/online/sqlite_backend.py",),
    "faiss": ("models/search/search.py",),
    "numba": (
        "models/affinity_kernels.py",
        "models/assembly/list_kernels.py",
        "models/assembly/plain_kernels.py",
        "models/copurchase/kernels.py",
        "models/digest_kernels.py",
        "models/search/exact_kernels.py",
        "models/vector_kernels.py",
    ),
    "llvmlite": ("models/search/exact_kernels.py",),
    "transformers4rec": ("models/networks/transformers4rec.py",),
    "matplotlib": (),
    "deltalake": (
        "jobs/lake/changes.py",
        "jobs/lake/damage.py",
        "jobs/lake/engine.py",
        "jobs/lake/lake.py",
        "jobs/lake/snapshot.py",
    ),
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
    assert writers == {"jobs/lake/lake.py", "jobs/lake/engine.py"}


def test_compiled_kernels_have_modules_of_their_own() -> None:
    assert [path for path in OWNERS["numba"] if not path.endswith("kernels.py")] == []


@pytest.mark.parametrize("library", ["transformers4rec", "feast"])
def test_slow_libraries_are_imported_inside_functions(library: str) -> None:
    # These are Feast objects and nothing else; whoever imports them wants Feast.
    of_feast = ("definitions.py", "registry.py", "online/feast_store.py")
    at_once = [
        path for path, tree in modules().items()
        if path not in ("jobs/ask/offline_store.py", *(f"feature_repo/{name}" for name in of_feast))
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
ENTRY = ("jobs/__main__.py", "jobs/cli")
"""`python -m jobs`: the one reader of argument, environment and clock, in two files."""
MAY_READ = {
    (
        "dags/nightly_recommendations.py",
        "os.environ",
    ): "a night's schedule, retries, pools and alerts",
    ("dags/nightly_recommendations.py", "datetime.now"): "how long a task has waited for what is away",
    ("jobs/lake/engine.py", "os.environ"): "JAVA_HOME says whether Spark can be started at all",
    ("jobs/lake/engine.py", "time.monotonic"): "how long Spark's server is waited for",
    ("jobs/lake/locks.py", "time.monotonic"): "how long a lease could not be renewed",
    ("jobs/serve/api.py", "time.perf_counter"): "how long an answer took",
    ("feature_repo/client/nights.py", "time.monotonic"): "how long ago a service looked which night is live",
    ("feature_repo/client/sessions.py", "time.monotonic"): "a pause after a network could not be loaded",
    ("jobs/nights/night.py", "time.monotonic"): "how long a person has waited, for the lines on the terminal",
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
    below = {(path, name) for path, name in ambient_reads() if not path.startswith(ENTRY)}
    assert below == set(MAY_READ), "an exception that is not used any more must go from MAY_READ"
    hidden = [
        f"{path} imports {name}" for path, tree in modules().items() if not path.startswith(ENTRY)
        for name in imports_of(tree) & (AMBIENT - {"datetime.now"})
    ]  # fmt: skip
    assert hidden == []


def test_the_entry_point_is_where_they_are_read() -> None:
    assert {name for path, name in ambient_reads() if path.startswith(ENTRY)} >= {"datetime.now", "os.environ"}


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
def documentation() -> str:
    """The README and the pages for readers of each kind."""
    pages = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
    return "\n".join(page.read_text("utf-8") for page in pages)


def mentions(word: str) -> bool:
    """Whether the documentation has the word as code or in a command."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", documentation()) is not None


def commands() -> list[str]:
    """Every command of the command line."""
    from typer.main import get_command

    from jobs.__main__ import app

    found: list[str] = list(get_command(app).commands)  # type: ignore[attr-defined]
    return found


def test_every_command_is_documented() -> None:
    assert set(STEPS) <= set(commands())
    assert [name for name in commands() if not mentions(name)] == []


def test_every_table_is_documented() -> None:
    assert [table.name for table in ALL if not mentions(table.name)] == []


def test_every_make_target_is_documented() -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert "night" in targets
    assert [target for target in targets if f"make {target}" not in documentation()] == []


def test_every_target_is_phony_and_explained() -> None:
    text = (REPOSITORY / "Makefile").read_text("utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())  # type: ignore[index]
    assert phony == set(re.findall(r"^([a-z]+):.*## ", text, re.MULTILINE))
