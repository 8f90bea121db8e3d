"""What is imported when, what is public, and what the documents say about it."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import placevec
from placevec import errors
from placevec.cli.commands import VERBS

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "geopandas", "pyarrow.parquet", "rasterio", "matplotlib", "transformers", "lance", "sklearn", "scipy"]


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter holds after `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_starts_without_what_is_heavy() -> None:
    modules = loaded_after("from placevec.cli.main import run\nassert run(['--help']) == 0")
    assert not modules & set(HEAVY)
    assert "pyarrow" not in modules
    assert "numpy" not in modules


def test_importing_placevec_imports_nothing_heavy() -> None:
    modules = loaded_after("import placevec")
    assert not modules & {*HEAVY, "numpy", "pyarrow"}


def test_public_names_are_sorted_real_and_documented() -> None:
    assert placevec.__all__ == sorted(placevec.__all__)
    assert len(set(placevec.__all__)) == len(placevec.__all__)
    for name in placevec.__all__:
        found = getattr(placevec, name)
        assert inspect.getdoc(found), f"{name} has no docstring"
    assert set(placevec.__all__) <= set(dir(placevec))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = placevec.nonsense


def test_every_error_stands_in_the_tree() -> None:
    text = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, Exception):
            assert name in text, f"{name} is missing in the tree of placevec.errors"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_a_page(verb: str, capsys) -> None:
    from placevec.cli.main import run

    assert run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    group = getattr(importlib.import_module(f"placevec.cli.commands.{VERBS[verb]}"), "app", None)
    if group is None:
        assert "Example" in text
    else:
        for command in group.registered_commands:
            assert "Example" in (inspect.getdoc(command.callback) or ""), f"{verb} {command.name}"
    page = ROOT / "docs" / "verbs" / f"{verb}.md"
    assert page.exists(), f"docs/verbs/{verb}.md is missing"
    assert f"placevec {verb}" in page.read_text()


def test_every_module_has_a_docstring_and_a_moderate_length() -> None:
    for module in pkgutil.walk_packages(placevec.__path__, "placevec."):
        path = ROOT / "src" / Path(*module.name.split("."))
        file = path / "__init__.py" if module.ispkg else path.with_suffix(".py")
        text = file.read_text()
        assert text.lstrip("r").startswith('"""'), f"{module.name} has no docstring"
        assert text.count("\n") <= 450, f"{module.name} asks to be cut"


def test_no_pickle_and_no_unsafe_load() -> None:
    for file in (ROOT / "src").rglob("*.py"):
        text = file.read_text()
        # Messages between a job's own processes are pickled by multiprocessing; nothing of it reaches a file.
        assert not re.search(r"^\s*import pickle$", text, re.MULTILINE), file
        assert "joblib.load" not in text, file
        assert "allow_pickle=True" not in text, file
        if "torch.load(" in text:
            assert "weights_only=True" in text, file


WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'lightning_fabric', 'transformers', 'safetensors'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Block())
from placevec.cli.main import run
for line in sys.stdin.read().splitlines():
    code = run(line.split('\\x1f'))
    assert code == 0, (line, code)
"""


def test_looking_at_tables_works_with_torch_blocked(tmp_path: Path) -> None:
    rng = __import__("numpy").random.default_rng(0)
    rows = ["geometry,height," + ",".join(f"dim_{i}" for i in range(4))]
    for _ in range(120):
        lon, lat = rng.uniform(-9, 3), rng.uniform(36, 43)
        values = ",".join(f"{v:.5f}" for v in rng.standard_normal(4))
        rows.append(f"POINT ({lon:.6f} {lat:.6f}),{lat * 10:.3f},{values}")
    source = tmp_path / "in.csv"
    source.write_text("\n".join(rows) + "\n")
    table = tmp_path / "t.parquet"
    lines = [
        ["import", str(source), "--crs", "EPSG:4326", "-o", str(table)],
        ["search", str(table), "--at", "-3.7,40.4", "-k", "3"],
        ["probe", str(table), "--target", "height", "--shuffles", "2", "--quiet"],
        ["cluster", str(table), "-k", "3", "-o", str(tmp_path / "c.parquet")],
        ["map", str(table), "-o", str(tmp_path / "m.png")],
        ["export", str(table), "-o", str(tmp_path / "out.geojson")],
        ["info", str(table)],
    ]
    text = "\n".join("\x1f".join(line) for line in lines)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "m.png").stat().st_size > 1000
