"""The command, as a user types it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dfx.cli import main

ROOT = Path(__file__).parents[1]
LONG = "a" * 300  # characters: no file system takes such a name
TOOLS = [
    path
    for folder in ("export", "dfx/torch")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "@click.command" in path.read_text(encoding="utf-8")
]


def dfx(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dfx", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "120"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def test_demo_shows_a_table_of_scores_with_reasons(tmp_path: Path) -> None:
    done = dfx("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("real.mp4", "manipulated.mp4", "no_face", "P(fake)", "reason"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_predict_writes_the_csv_and_counts_the_reasons(samples: Path, tmp_path: Path) -> None:
    done = dfx("predict", samples, "--out", "s.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 videos: 2 ok, 1 no_face. Scores are in s.csv" in done.stderr
    assert "video/s" in done.stderr or "s/video" in done.stderr
    assert (tmp_path / "s.csv").read_text().startswith("filename,label\n")


def test_score_prints_the_challenge_metric(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("filename,label\na.mp4,0.9\nb.mp4,0.2\n")
    (tmp_path / "metadata.json").write_text('{"a.mp4": {"label": "FAKE"}, "b.mp4": {"label": "REAL"}}')
    done = dfx("score", tmp_path / "s.csv", tmp_path / "metadata.json")
    assert done.returncode == 0, done.stderr
    assert "0.1643" in done.stdout  # -(log 0.9 + log 0.8) / 2


def test_probe_prints_what_the_container_says(samples: Path) -> None:
    done = dfx("probe", samples / "real.mp4")
    assert done.returncode == 0, done.stderr
    for word in ("h264", "480", "360"):
        assert word in done.stdout


def test_probe_tells_of_all_that_it_can(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    done = dfx("probe", tmp_path / "empty.mp4", samples / "real.mp4", cwd=tmp_path)
    assert done.returncode == 2
    assert "h264" in done.stdout
    assert "'empty.mp4': it is empty" in done.stderr


def test_predict_names_what_could_not_be_scored(samples: Path, tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.mp4").touch()
    done = dfx("predict", tmp_path, samples / "real.mp4", "--out", "s.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "corrupt: '0.mp4': it is empty" in done.stderr
    assert "5.mp4" not in done.stderr
    assert "and 2 others; a report (--report) names all" in done.stderr
    assert "8 videos: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "nowhere"], "nowhere"),
        (["predict", "videos", "--model", "nonsense.onnx"], "nonsense.onnx"),
        (["predict", "videos", "--model", "missing.onnx"], "missing.onnx"),
        (["predict", "videos", "--out", "no/such/folder/s.csv"], "no/such/folder"),
        (["predict", "videos", "--report", "no/r.html"], "cannot write no/r.html"),
        (["predict", "videos", "--out", "s.csv", "--report", "s.csv"], "name another file"),
        (["report", "s.csv.journal", "--out", "s.csv"], "name another file"),
        (["predict", "videos", "--out", ".", "--report", "r.html"], "cannot write . (it is a folder)"),
        (["predict", "videos", "--out", "/", "--report", "r.html"], "cannot write / (it is a folder)"),
        (["predict", ""], "the current folder is '.'"),
        (["predict", LONG], f"{LONG} cannot be looked for (File name too long)"),
        (["probe", LONG], "File name too long"),
        (["report", LONG], "File name too long"),
        (["faces", "videos", "--detectors", f"yunet={LONG}"], "File name too long"),
        (["bundle", "--for", "kaggle-cpu", "--out", LONG], "File name too long"),
        (["predict", "videos", "--windows", "0"], "windows is 0"),
        (["predict", "videos", "--prior", "7"], "prior is 7"),
        (["predict", "videos", "--workers", "0"], "workers is 0"),
        (["score", "nowhere.csv", "nowhere.json"], "nowhere.csv"),
        (["probe", "nonsense.onnx"], "nonsense.onnx"),
    ],
)
def test_bad_arguments_end_with_one_clear_line(samples: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    shutil.copytree(samples, tmp_path / "videos")
    (tmp_path / "nonsense.onnx").write_bytes(b"nonsense")
    done = dfx(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_run_in_which_nothing_could_be_read_fails(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    command = ["predict", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "s.csv"), "--device", "cpu", "--quiet"]
    assert CliRunner().invoke(main, command).exit_code == 1
    assert "a.mp4,0.500000" in (tmp_path / "s.csv").read_text()
    command[1:2] = [str(tmp_path / "a.mp4"), str(samples / "no_face.mp4")]
    assert CliRunner().invoke(main, command).exit_code == 0


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_shows_an_example(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    assert f"      dfx {command} " in shown.output or not main.commands[command].params[:-1]


@pytest.mark.parametrize("command", ["predict", "report", "inspect", "frames", "audio", "faces"])
def test_whatever_opens_videos_has_limits(command: str) -> None:
    options = {option for each in main.commands[command].params for option in each.opts}
    assert {"--timeout", "--memory", "--max-pixels", "--max-duration"} <= options


def test_what_is_too_long_is_shown_with_the_option_that_its_error_names(samples: Path) -> None:
    refused = CliRunner().invoke(main, ["probe", str(samples / "real.mp4"), "--max-duration", "2"])
    assert (refused.exit_code, "3 s long; 2 s is the limit (--max-duration)" in refused.output) == (2, True)
    assert "keyframes" in CliRunner().invoke(main, ["probe", str(samples / "real.mp4"), "--max-duration", "4"]).output


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_the_help_of_every_tool_shows_an_example_as_it_is_typed(path: Path) -> None:
    """click keeps the lines of a paragraph that begins with a backspace, which a raw docstring does not hold."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.decorator_list]
    (text,) = (
        ast.get_docstring(function)
        for function in functions
        if any("click.command" in ast.unparse(decorator) for decorator in function.decorator_list)
    )
    assert text is not None
    assert re.search(r"\x08\nExamples?:\n    python ", text), text


def test_every_command_that_the_readme_names_is_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shell = "".join(re.findall(r"```bash\n(.*?)```", readme, re.DOTALL))
    named = set(re.findall(r"^dfx ([a-z]+)", shell, re.MULTILINE))
    assert named <= set(main.commands), named - set(main.commands)
    assert {"predict", "train", "faces", "bundle", "inspect", "report", "rehearse", "doctor"} <= named


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--max-pixels", "3000000000", "the pixel limit is 3000000000; a whole number (int) from 1 to 2147483647 "),
        ("--memory", "inf", "--memory is inf; a number of GiB from 0.25 to 131072 is needed"),
        ("--memory", "nan", "--memory is nan; a number of GiB from 0.25 to 131072 is needed"),
        ("--memory", "1e300", "--memory is 1e+300; a number of GiB"),
        ("--memory", "1e10", "--memory is 10000000000.0; a number of GiB"),
        ("--memory", "-1", "--memory is -1.0; a number of GiB"),
        ("--windows", "9" * 23, f"windows is {'9' * 23}; a whole number (int) from 1 to 2000000 "),
        ("--timeout", "nan", "the time limit (seconds) is nan; a finite number of seconds above 0 is needed"),
        ("--max-duration", "inf", "the duration limit is inf; a finite number of seconds above 0 is needed"),
    ],
)
def test_a_number_out_of_range_ends_with_one_line(
    samples: Path, tmp_path: Path, option: str, value: str, words: str
) -> None:
    done = dfx("predict", samples, option, value, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_patience_for_centuries_is_no_error(samples: Path, tmp_path: Path) -> None:
    patience = ["--timeout", "1e10", "--budget", "9" * 30, "--memory", "131072", "--max-pixels", "2147483647"]
    done = dfx("predict", samples, "--out", "s.csv", *patience, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 videos: 2 ok, 1 no_face." in done.stderr
