"""Every benchmark can be started, and the product has all that it imports, also inside functions."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY

BENCHMARKS = sorted(path.parent.name for path in Path(__file__).parent.glob("*/__main__.py"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_prints_its_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as left:
        import_module(f"tests.benchmarks.{name}.__main__").main()
    assert left.value.code == 0
    assert "usage:" in capsys.readouterr().out


MODULES = sorted(
    path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".")
    for path in Path(__file__).parent.glob("*/*.py")
    if path.parts[-2:] != ("peers", "rectools.py")  # imports what only an environment of its own has
)


@pytest.mark.parametrize("module", MODULES)
def test_what_a_benchmark_imports_is_there(module: str) -> None:
    tree = ast.parse((REPOSITORY / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("jobs", "models", "tests"):
            source = import_module(str(node.module))
            for name in node.names:
                if not hasattr(source, name.name):
                    import_module(f"{node.module}.{name.name}")
