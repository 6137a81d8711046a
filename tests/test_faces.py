"""Face detectors side by side: what is matched, counted, voted, drawn, and said of one that is absent."""

from __future__ import annotations

import csv
import importlib
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest
from clips import clip
from onnx import TensorProto, helper, numpy_helper
from surfaces import on_host
from test_cli import dfx as run

import dfx
from dfx import ops
from dfx.agree import grouped, matched, overlaps
from dfx.comparison import Comparison, Looked, Shown
from dfx.decode.pyav import PyAVDecoder
from dfx.detectors import KINDS, LONG_SIDE, FaceDetector, choose, faces_of, open_detectors, shrunk, suppressed
from dfx.errors import DependencyError, DfxError, InputError, MissingInputError, ModelError
from dfx.faces import look, rgb_of
from dfx.frames import plan_of
from dfx.origin import install
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.values import Faces, Followed, Frames, Pixels

Boxes = Sequence[Sequence[float]]
GREY: Pixels = np.full((90, 160, 3), 128, np.uint8)
A, A_SHIFTED, A_HALF, B = [0, 0, 40, 40], [4, 0, 44, 40], [0, 0, 40, 20], [100, 20, 140, 60]


def boxes(*rows: Sequence[float]) -> Any:
    return np.array(rows, np.float32).reshape(-1, 4)


class Stub:
    """Finds what it is told to, in any picture."""

    def __init__(self, name: str, *rows: Sequence[float]) -> None:
        self.name, self._faces = name, faces_of(boxes(*rows), np.linspace(0.9, 0.5, len(rows)))

    def detect(self, picture: Pixels) -> Faces:
        return self._faces


def compared(*pictures: Sequence[Stub]) -> Comparison:
    """A comparison of one video, whose pictures are each looked at by stubs of their own."""
    looks = tuple(look(n, n / 25, GREY, stubs) for n, stubs in enumerate(pictures))
    names = tuple(stub.name for stub in pictures[0])
    shown = tuple(Shown("a.mp4", one, GREY, 1.0) for one in looks if one.disputed)
    return Comparison(names, (Looked("a.mp4", looks),), shown)


@pytest.fixture
def three() -> Comparison:
    """All see A; the first and the third see B in the first picture; the second has a false face of its own."""
    first = [Stub("x", A, B), Stub("y", A_SHIFTED, [60, 60, 80, 80]), Stub("z", B, A)]
    return compared(first, [Stub("x", A), Stub("y", A_SHIFTED), Stub("z", A)])


def test_overlap_is_intersection_over_union() -> None:
    found = overlaps(boxes(A, B), boxes(A, A_HALF, A_SHIFTED))
    np.testing.assert_allclose(found, [[1, 0.5, 36 / 44], [0, 0, 0]])
    assert overlaps(boxes(), boxes(A)).shape == (0, 1)


def test_the_best_pairs_are_matched_first_and_each_box_once() -> None:
    assert matched(boxes(A_SHIFTED, A), boxes(A)) == [(1, 0)]
    assert matched(boxes(A, B), boxes(B, A)) == [(0, 1), (1, 0)]
    assert matched(boxes(A), boxes([0, 0, 40, 15])) == []
    assert matched(boxes(A), boxes()) == []


def test_faces_are_grouped_over_the_detectors() -> None:
    assert grouped([boxes(A, B), boxes(A_SHIFTED), boxes(B, A)]) == [{0: 0, 1: 0, 2: 1}, {0: 1, 2: 0}]
    assert grouped([boxes(), boxes(A), boxes()]) == [{1: 0}]


def test_the_tables_count_what_was_found(three: Comparison) -> None:
    assert [row[:5] for row in three.overview.rows()] == [("x", 1, 2, 3, 2), ("y", 1, 2, 3, 2), ("z", 1, 2, 3, 2)]
    assert [row[:5] for row in three.pairs.rows()] == [
        ("x", "y", 2, 1, 1),
        ("x", "z", 3, 0, 0),
        ("y", "z", 2, 1, 1),
    ]
    assert [row[5] for row in three.pairs.rows()] == [0.5, 1, 0.5]
    assert [row[-1] for row in three.sizes.rows()] == [40, 33, 40]


def test_votes_drop_the_face_that_one_detector_alone_sees(three: Comparison) -> None:
    assert three.votes.rows() == (("1 of 3", 4, 3, 3, 3), ("2 of 3", 3, 3, 2, 3), ("3 of 3", 2, 2, 2, 2))
    assert [len(one.boxes) for one in three.kept(2)[0].looks[0].seen] == [2, 1, 2]
    assert [len(one.boxes) for one in three.kept(3)[0].looks[0].seen] == [1, 1, 1]
    assert three.kept(3).looks[0].disputed == 0


def test_the_csv_has_a_row_a_box_and_every_picture(three: Comparison, tmp_path: Path) -> None:
    failed = Looked("b.mp4", problem="corrupt: it is no video")
    Comparison(three.detectors, (*three.items, failed)).to_csv(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert [row["votes"] for row in rows[:4]] == ["3", "2", "3", "1"]
    assert (rows[0]["left"], rows[0]["bottom"], rows[0]["detector"]) == ("0.0", "40.0", "x")
    assert rows[-1]["problem"] == "corrupt: it is no video"


def test_nothing_found_is_no_error() -> None:
    none = compared([Stub("x"), Stub("y")])
    assert [row[:5] for row in none.overview.rows()] == [("x", 0, 0, 0, 0), ("y", 0, 0, 0, 0)]
    assert none.votes.rows()[0][:2] == ("1 of 2", 0)
    assert [row[1:4] for row in none.rows()] == [(0, 0.0, "x"), (0, 0.0, "y")]
    assert "detector" in repr(none)
    assert "<table>" in none._repr_html_()
    empty = Comparison(("x",), (Looked("a.mp4", problem="corrupt: x"),))
    assert empty.overview.rows() == (("x", 0, 0, 0, "", "", ""),)


def test_what_a_detector_has_no_measure_of_is_blank_and_moves_no_other() -> None:
    overview = compared([Stub("blind"), Stub("sees", A)]).overview
    blind, sees = (dict(zip(overview.columns(), row, strict=True)) for row in overview.rows())
    assert blind["confidence"] == ""
    assert blind["ms a picture"] >= 0
    assert sees["confidence"] == 0.9


def test_what_is_no_box_is_no_face() -> None:
    found = faces_of([A, [5, 5, 5, 9], [0, 0, np.nan, 9], B], [0.5, 0.9, 0.9, 0.7])
    np.testing.assert_array_equal(found.boxes, boxes(B, A))
    assert np.isnan(found.landmarks).all()


def test_suppression_keeps_the_best() -> None:
    found = suppressed(faces_of([A, A_SHIFTED, B], [0.5, 0.8, 0.7]), 0.4)
    np.testing.assert_array_equal(found.boxes, boxes(A_SHIFTED, B))


def test_pictures_are_shrunk_and_never_enlarged() -> None:
    small, scale = shrunk(np.zeros((1080, 1920, 3), np.uint8), LONG_SIDE)
    assert (small.shape, scale) == ((540, 960, 3), 0.5)
    assert shrunk(GREY, LONG_SIDE)[0].shape == GREY.shape


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        ([], InputError, "no detector is named"),
        (["face"], InputError, "'face' is no detector that dfx knows; name some of retinaface, haar"),
        (["yunet"], InputError, "yunet=FILE.onnx"),
        (["yolo=no.onnx"], MissingInputError, "no file at no.onnx"),
        (["hog=a.onnx"], InputError, "hog takes no file"),
        (["haar", "haar"], InputError, "more than once"),
    ],
)
def test_a_wrong_name_is_said_at_once(wanted: list[str], error: type[DfxError], words: str) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        choose(wanted)


def test_detectors_may_be_named_by_one_text_as_on_the_command_line() -> None:
    with pytest.raises(InputError, match="'face' is no detector"):
        dfx.faces("nothing.mp4", "retinaface,face")


def test_two_of_a_kind_are_called_by_their_files(tmp_path: Path) -> None:
    for name in ("n", "s"):
        (tmp_path / f"{name}.onnx").touch()
    chosen = choose([f"yunet={tmp_path}/n.onnx", f"yunet={tmp_path}/s.onnx", "haar"])
    assert [one.name for one in chosen] == ["yunet:n", "yunet:s", "haar"]


@pytest.mark.parametrize(
    ("kind", "module", "mend"),
    [
        ("haar", "cv2", install("detectors")),
        ("mtcnn", "facenet_pytorch", "pip install --no-deps facenet-pytorch"),
        ("mtcnn", "torch", "pip install torch torchvision requests"),
        ("blazeface", "mediapipe", install("blazeface")),
        ("hog", "dlib", install("hog")),
    ],
)
def test_an_absent_detector_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, kind: str, module: str, mend: str
) -> None:
    there = type("Module", (), {"set_num_threads": staticmethod(lambda count: None)})
    monkeypatch.setitem(sys.modules, "torch", there)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError) as caught:
        KINDS[kind](kind, None)
    assert f"the detector {kind} needs {module}" in str(caught.value)
    assert mend in str(caught.value)


def first_picture(video: Path) -> Pixels:
    info = probe(video)
    (window,) = PyAVDecoder().read(info, plan_of(info, [0]))
    return rgb_of(window.pictures[0])  # type: ignore[arg-type]


def test_retinaface_sees_what_a_prediction_sees(samples: Path) -> None:
    info = probe(samples / "real.mp4")
    (window,) = PyAVDecoder().read(info, plan_of(info, [0]))
    (wanted,) = Pipeline().detector.detect(window.pictures)
    (detector,) = open_detectors(choose(["retinaface"]))
    found = detector.detect(rgb_of(window.pictures[0]))  # type: ignore[arg-type]
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1)


def check_finds_the_face(detector: FaceDetector, samples: Path) -> None:
    """The one that dfx's own finds, which a person has looked at, and nothing where there is none."""
    picture = first_picture(samples / "real.mp4")
    (own,) = open_detectors(choose(["retinaface"]))
    assert len(matched(detector.detect(picture).boxes, own.detect(picture).boxes)) == 1
    assert len(detector.detect(GREY)) == 0


@pytest.mark.parametrize(
    ("kind", "module"), [("haar", "cv2"), ("mtcnn", "facenet_pytorch"), ("blazeface", "mediapipe"), ("hog", "dlib")]
)
@pytest.mark.filterwarnings("ignore")  # of libraries that are not ours
def test_the_real_ones_find_a_face(samples: Path, kind: str, module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:  # a torchvision that does not fit its torch raises what it likes
        pytest.skip(f"{module} cannot be imported ({error})")
    check_finds_the_face(open_detectors(choose([kind]))[0], samples)


@pytest.mark.shared
def test_yunet_finds_a_face(shared: Path, samples: Path) -> None:
    path = shared / "data" / "weights" / "yunet_n_dynamic.onnx"
    check_finds_the_face(open_detectors(choose([f"yunet={path}"]))[0], samples)


@pytest.mark.shared
def test_yunet_is_opencvs(shared: Path, samples: Path, tmp_path: Path) -> None:
    """The authors' file, made fit for OpenCV: its sizes fixed, and what follows from them folded."""
    cv2, runtime = pytest.importorskip("cv2"), importlib.import_module("onnxruntime")
    path, options = shared / "data" / "weights" / "yunet_n_dynamic.onnx", runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "fixed.onnx")
    options.log_severity_level = 3
    for axis, size in (("batch", 1), ("height", 576), ("width", 960)):
        options.add_free_dimension_override_by_name(axis, size)
    runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    picture = np.ascontiguousarray(first_picture(samples / "real.mp4")[:288])  # 480 x 288, twice as large on the canvas
    canvas = np.ascontiguousarray(ops.letterbox([on_host(picture)], 576, 960)[0].transpose(1, 2, 0)[..., ::-1])
    _, wanted = cv2.FaceDetectorYN.create(str(tmp_path / "fixed.onnx"), "", (960, 576), 0.6, 0.3).detect(canvas)
    found = open_detectors(choose([f"yunet={path}"]))[0].detect(picture)
    corners = np.concatenate([wanted[:, :2], wanted[:, :2] + wanted[:, 2:4]], axis=1)
    np.testing.assert_allclose(found.boxes, corners / 2, atol=0.5)
    np.testing.assert_allclose(found.landmarks, wanted[:, 4:14].reshape(-1, 5, 2) / 2, atol=0.5)
    np.testing.assert_allclose(found.scores, wanted[:, 14], atol=1e-3)


def yolo(path: Path, output: Any, name: str = "images") -> Path:
    """A model whose output is always the same, on a canvas of 320 x 320."""
    nodes = [
        helper.make_node("ReduceMean", [name], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["constant", "nothing"], ["output0"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 320, 320])]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(output.shape))]
    constants = {"constant": output.astype(np.float32), "zero": np.zeros((), np.float32)}
    kept = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, "yolo", inputs, outputs, kept)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), str(path))
    return path


def test_yolo_reads_the_documented_layout(tmp_path: Path) -> None:
    candidates = np.array([[40, 30, 20, 20, 0.9], [42, 30, 20, 20, 0.8], [200, 100, 40, 20, 0.7], [9, 9, 9, 9, 0.1]])
    path = yolo(tmp_path / "y.onnx", candidates.T[None])
    (found,) = open_detectors(choose([f"yolo={path}"]))
    faces = found.detect(GREY)  # 160 x 90, twice as large on the canvas
    np.testing.assert_allclose(faces.boxes, boxes([15, 10, 25, 20], [90, 45, 110, 55]))
    np.testing.assert_allclose(faces.scores, [0.9, 0.7], atol=1e-6)


def test_yolo_with_points_and_one_of_another_layout(tmp_path: Path) -> None:
    points = np.concatenate([[40, 30, 20, 20, 0.9], np.tile([10, 20, 0.5], 5)])
    (found,) = open_detectors(choose([f"yolo={yolo(tmp_path / 'p.onnx', points[None, :, None])}"]))
    np.testing.assert_allclose(found.detect(GREY).landmarks, np.tile([5, 10], (1, 5, 1)))
    (wrong,) = open_detectors(choose([f"yolo={yolo(tmp_path / 'w.onnx', np.zeros((1, 84, 9)))}"]))
    with pytest.raises(ModelError, match=r"\[1, 84, 9\]; \[1, 5, N\] or \[1, 20, N\] is needed"):
        wrong.detect(GREY)
    with pytest.raises(ModelError, match="images"):
        open_detectors(choose([f"yolo={yolo(tmp_path / 'n.onnx', np.zeros((1, 5, 9)), 'x')}"]))


def test_the_sheet_shows_each_box_in_its_colour(three: Comparison, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    from dfx.sheet import COLOURS, GROUND

    three.sheet(tmp_path / "s.png")
    with av.open(str(tmp_path / "s.png")) as container:
        sheet = next(container.decode(video=0)).to_ndarray(format="rgb24")
    for colour in COLOURS[:3]:
        assert (sheet == colour).all(axis=2).sum() > 100
    assert (sheet == GROUND).all(axis=2).any()


def test_names_that_the_sheet_cannot_write_stay_apart(three: Comparison) -> None:
    pytest.importorskip("cv2")
    from dfx.sheet import draw

    (shown, *_) = three.shown
    assert draw(three.detectors, [replace(shown, filename="é.mp4")]) != draw(
        three.detectors, [replace(shown, filename="è.mp4")]
    )


def test_a_sheet_of_nothing_says_so(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    compared([Stub("x", A), Stub("y", A)]).sheet(tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_compares_writes_and_counts_a_broken_file(samples: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    for name in ("real.mp4", "no_face.mp4"):
        (tmp_path / name).write_bytes((samples / name).read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"nonsense")
    options = ["--frames", "2", "--workers", "1", "--out", "t.csv", "--sheet", "s.png"]
    done = run("faces", ".", "--detectors", "retinaface,haar", *options, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "broken.mp4: corrupt" in done.stderr
    assert "retinaface | haar" in done.stdout
    assert "2 of 2" in done.stdout
    rows = (tmp_path / "t.csv").read_text().splitlines()
    assert any(row.startswith("no_face.mp4,") and ",retinaface,,,,,,," in row for row in rows)
    assert (tmp_path / "s.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--detectors", "yunet"], "yunet=FILE.onnx"),
        (["--detectors", "yunet=no.onnx"], "no.onnx"),
        (["--out", "table.txt"], "'.txt'; .csv is needed"),
        (["--sheet", "sheet.jpg"], "'.jpg'; .png is needed"),
        (["--out", "no/table.csv"], "cannot write no/table.csv"),
        (["--sheet", "no/sheet.png"], "cannot write no/sheet.png"),
        (["--frames", "0"], "pictures is 0"),
    ],
)
def test_bad_arguments_end_with_one_line(samples: Path, options: list[str], words: str) -> None:
    done = run("faces", samples, *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_an_interrupted_comparison_begins_anew(samples: Path, tmp_path: Path) -> None:
    for name in range(200):
        (tmp_path / f"{name:03}.mp4").symlink_to(samples / "real.mp4")
    command = [sys.executable, "-m", "dfx", "faces", ".", "--follow-symlinks", "--out", "t.csv"]
    started = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    assert started.stderr.read(1)  # of the bar
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "run the same command again to begin anew" in said
    assert not (tmp_path / "t.csv").exists()


def test_the_readme_shows_the_real_output(samples: Path, tmp_path: Path) -> None:
    """All but the times."""
    pytest.importorskip("cv2")
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- output: dfx faces -->\n```\n(.*?)```", readme, re.DOTALL)
    assert shown
    done = run("faces", samples, "--detectors", "retinaface,haar", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert cells(shown[1]) == cells(done.stdout)


def cells(tables: str) -> list[list[str]]:
    """What stands in tables, row by row, without the last column of the first, which is of times."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables.splitlines() if "|" in line]
    return [row[: rows[0].index("ms a picture")] if number < 3 else row for number, row in enumerate(rows)]


def test_help_shows_an_example() -> None:
    assert "dfx faces videos --detectors retinaface,haar" in run("faces", "--help").stdout


def test_python_gives_the_same(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", 20)
    found = dfx.faces(tmp_path, ["retinaface"], pictures=3, workers=1)
    assert found.detectors == ("retinaface",)
    assert [one.index for one in found[0].looks] == [3, 10, 16]
    assert found.overview.rows()[0][:4] == ("retinaface", 0, 0, 0)


def test_unless_told_detectors_see_what_a_prediction_looks_at(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, path, looked = Pipeline(), samples / "real.mp4", list[int]()
    follow = pipeline._follow

    def noted(frames: Frames) -> list[Followed]:
        followed = follow(frames)
        looked.extend(frames.index[followed[0].track.detected].tolist())
        return followed

    monkeypatch.setattr(pipeline, "_follow", noted)
    pipeline.predict(path)
    assert len(looked) >= 6
    assert pipeline.looked_at(probe(path)) == looked
    (found,) = dfx.faces(path, ["retinaface"], workers=1)
    assert [one.index for one in found.looks] == looked
