"""The client as a wheel of its own: what it holds, and that one command installs it without the rest."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from feature_repo.online.reader import backend_at
from tests.support.repository import REPOSITORY
from tests.support.synthetic import Shape, publish

PACKAGE = REPOSITORY / "feature_repo"
SHAPE = Shape(products=30, customers=4, ranked=30)
ASKED = """
import sys
from feature_repo.client import Recommendations
client = Recommendations(sys.argv[1])
page, ranking = client.product_page("P000001", "M0"), client.rank("C00000000", ["P000001"], "M0", "K1")
assert page.you_might_also_like.product_ids and client.bag(["P000001", "P000002"], "M0").list.product_ids
assert ranking.places[0].source == "model" and client.home("C00000000", "M0").list.origin == "own list"
Recommendations("redis://127.0.0.1:1/0")
print(sorted({name.split(".")[0] for name in sys.modules} & {"jobs", "models", "feast", "pandas", "pyarrow", "yaml"}))
"""


def imported_with(module: Path) -> set[Path]:
    """Files of the package that a module imports, inside functions too, and those that these import."""
    found, left = set[Path](), [module]
    while left:
        file = left.pop()
        if file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("feature_repo"):
                base = REPOSITORY / str(node.module).replace(".", "/")
                named = [base, *(base / alias.name for alias in node.names)]
                files = [path for each in named for path in (each.with_suffix(".py"), each / "__init__.py")]
                left += [path for path in files if path.is_file()]
        left += [parent / "__init__.py" for parent in file.parents if PACKAGE in (parent, *parent.parents)]
    return found


def test_the_wheel_holds_what_the_client_imports() -> None:
    settings = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))
    listed = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    held = {
        file for name in listed for file in ([PACKAGE / name] if name[-3:] == ".py" else (PACKAGE / name).glob("*.py"))
    }
    assert held == imported_with(PACKAGE / "client" / "__init__.py")


@pytest.mark.soak  # makes a virtual environment and installs from the package registry
def test_one_command_installs_the_client_without_the_rest(tmp_path: Path) -> None:
    publish(backend_at(f"sqlite://{tmp_path}/online.db"), SHAPE, 1)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True, timeout=600)
    there = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True)
    names = {line.split("==")[0] for line in there.stdout.split()}
    assert names - {"pip", "setuptools"} == {"nightrail-client", "numpy", "redis"}
    command = [python, "-c", ASKED, f"sqlite://{tmp_path}/online.db"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
