"""dfx in a Jupyter notebook and in a plain script: no `__main__` guard, progress, and results shown by themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")  # of the extra `test`; a machine that is there for its GPU may lack it
NotebookClient = pytest.importorskip("nbclient").NotebookClient

QUIET = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning"
)  # of what runs notebooks
CELLS = {
    "predictions": "result = dfx.predict_dir(videos, out='s.csv')\nresult",
    "inspection": "dfx.inspect(videos)",
    "comparison": "dfx.faces(videos, ['retinaface', 'haar'], pictures=2)",
    "frames": "dfx.frames(videos, 'pictures', count=2)",
}
THEMES = {"light": ("#ffffff", "#111111"), "dark": ("#111111", "#e0e0e0")}


@pytest.fixture(scope="module")
def cells(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """A notebook that was run: the outputs of each cell."""
    pytest.importorskip("cv2", reason="pip install 'dfx[detectors]'")
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook()
    first = f"import dfx\nvideos = {str(samples)!r}"
    notebook.cells = [nbformat.v4.new_code_cell(code) for code in (first, *CELLS.values())]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(folder)}}).execute()
    assert (folder / "s.csv").exists()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells[1:], strict=True)}


def html_of(outputs: list[Any]) -> str:
    return next(str(output.data["text/html"]) for output in outputs if output.output_type == "execute_result")


@QUIET
def test_a_notebook_shows_progress(cells: dict[str, list[Any]]) -> None:
    assert "3/3" in "".join(output.get("text", "") for output in cells["predictions"])


@QUIET
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("predictions", ("manipulated.mp4", "no_face", "Scores of 2 scored videos", "no_face: 1", "ok: 2")),
        ("inspection", ("manipulated.mp4", "Durations", "Codecs: h264: 3", "Sizes: 480x360: 3")),
        ("comparison", ("retinaface", "Faces found", "Processor time a picture", "Agreement of a pair")),
        ("frames", ("manipulated.mp4", "Files of a video", "real.mp4: 2")),
    ],
)
def test_results_are_tables_and_plots_by_themselves(
    cells: dict[str, list[Any]], name: str, words: tuple[str, ...]
) -> None:
    html = html_of(cells[name])
    for word in ("<table>", "<svg", *words):
        assert word in html, word
    assert re.search(r'<rect [^>]*(width|height)="[1-9]', html), "a plot in which nothing is drawn"
    assert "<script" not in html


@QUIET
@pytest.mark.browser
@pytest.mark.parametrize("theme", THEMES)
def test_plots_can_be_read_in_light_and_dark(cells: dict[str, list[Any]], browser: Any, theme: str) -> None:
    ground, ink = THEMES[theme]
    tab = browser.new_page(viewport={"width": 700, "height": 900})
    parts = "".join(html_of(outputs) for outputs in cells.values())
    tab.set_content(f"<body style='background: {ground}; color: {ink}; font: 13px sans-serif'>{parts}")
    drawn = tab.evaluate(
        """() => [...document.querySelectorAll("svg")].map(svg => {
            const words = [...svg.querySelectorAll("text")], frame = svg.getBoundingClientRect();
            const spilt = words.filter(word => {
                const box = word.getBoundingClientRect();
                return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
            });
            return [words.map(word => getComputedStyle(word).fill), spilt.map(word => word.textContent), frame.right];
        })"""
    )
    assert len(drawn) == 9
    wanted = f"rgb({', '.join(str(int(ink[at : at + 2], 16)) for at in (1, 3, 5))})"
    for colours, spilt, right in drawn:
        assert set(colours) == {wanted}
        assert spilt == []
        assert right <= 700


@pytest.mark.parametrize("function", ["inspect", "predict_dir"])
def test_a_script_needs_no_main_guard(samples: Path, tmp_path: Path, function: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import dfx\nprint(len(dfx.{function}({str(samples)!r})))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "3"
