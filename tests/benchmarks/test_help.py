"""Every benchmark can be started."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

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
