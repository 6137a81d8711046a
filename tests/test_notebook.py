"""dfx in a Jupyter notebook and in a plain script: no `__main__` guard, progress shown, the result displayed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_a_notebook_shows_progress_and_the_result(samples: Path, tmp_path: Path) -> None:
    cell = f"import dfx\nresult = dfx.predict_dir({str(samples)!r}, out='s.csv')\nresult"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = notebook.cells[0].outputs
    shown = "".join(output.get("text", "") for output in outputs)
    assert "3/3" in shown
    html = next(output.data["text/html"] for output in outputs if output.output_type == "execute_result")
    assert "manipulated.mp4" in html
    assert "no_face" in html
    assert (tmp_path / "s.csv").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_an_inspection_is_a_table_by_itself(samples: Path, tmp_path: Path) -> None:
    cell = f"import dfx\ndfx.inspect({str(samples)!r})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (shown,) = notebook.cells[0].outputs
    for word in ("<table>", "manipulated.mp4", "h264", "duration"):
        assert word in shown.data["text/html"]
    assert "manipulated.mp4" in shown.data["text/plain"]


def test_an_inspection_in_a_script_needs_no_main_guard(samples: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import dfx\nprint(len(dfx.inspect({str(samples)!r})))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "3"


def test_a_script_needs_no_main_guard(samples: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import dfx\nprint(len(dfx.predict_dir({str(samples)!r})))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "3"
