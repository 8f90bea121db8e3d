"""The notebook on fine-tuning runs from its first cell to its last, on a tiny CLIP and a small set of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import rsicd_form
import tiny_transformers

pytest.importorskip("transformers")
pytest.importorskip("ipykernel")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "retrieval" / "finetune.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    for cell in json.loads(text)["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert not re.search(r"/(home|root|work|tmp|Users)/", text), "a path of somebody's machine"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rsicd_form.write(tmp_path / "rsicd", counts={"train": 5, "valid": 4, "test": 2})
    tiny_transformers.write_clip(tmp_path / "clip")
    given = {
        "PLACEVEC_MODEL": f"hf:{tmp_path / 'clip'}",
        "PLACEVEC_EPOCHS": "2",
        "PLACEVEC_QUERY": "two red houses on grass",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore:IProgress",  # tqdm misses its bars for notebooks
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        # Nothing of this run among the user's own kernels and their history.
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = ["".join(_texts(cell)) for cell in cells]
    assert "66 images, 198 captions; train 30, val 24, test 12" in said[1]
    assert "chance is" in said[3]
    assert "30 images learned from, 24 to choose by: mean recall" in said[4]
    assert "| mean recall, both |" in said[5]
    assert "scan, exact" in said[6]
    pictures = [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in cells]
    assert pictures == [0, 0, 1, 0, 0, 0, 1, 1]
    made = tmp_path / "finetuned"
    assert {"model", "images.parquet", "evidence.png", "evidence.json"} <= {path.name for path in made.iterdir()}
    warned = [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    assert warned == []


def _texts(cell: Any) -> list[str]:
    """What a cell printed, and the texts of what it ended with."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            found.append(output.text)
        data = output.get("data", {})
        found.append(data.get("text/markdown", data.get("text/plain", "")))
    return found
