"""Video of high dynamic range is seen in the tones of ordinary video."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from hdr import as_hdr

import dfx
from dfx import colour, ops
from dfx.colour import LUMA, TO_709, WHITE, as_sdr, as_sdr_of_bt601
from dfx.crop import CLOSE_TEMPLATE
from dfx.decode.nvdec import suits
from dfx.decode.pyav import PyAVDecoder
from dfx.ops import similarity
from dfx.pipeline import Pipeline
from dfx.plan import plan
from dfx.probe import probe
from dfx.settings import Limits
from dfx.stills import from_planes
from dfx.values import Planes, Reason, Transfer
from dfx.views import scene

HDR = [Transfer.PQ, Transfer.HLG]
FINE = {
    "libx265": {"x265-params": "log-level=error:pools=1", "crf": "8", "preset": "ultrafast"},
    "libx264": {"crf": "8", "preset": "ultrafast"},
    "libsvtav1": {"crf": "8", "preset": "11", "svtav1-params": "lp=1"},
}
PRIMARIES, MATRIX, TRANSFER = 9, 9, {Transfer.PQ: 16, Transfer.HLG: 18, Transfer.SDR: 1}  # ITU-T H.273


def pictures_of(path: Path) -> list[Planes]:
    info = probe(path)
    (window,) = PyAVDecoder(Limits().pixels).read(info, plan(info, windows=1, count=50, stride=1))
    return list(window.pictures)


@pytest.fixture(scope="module")
def portrait(samples: Path) -> list[Planes]:
    return pictures_of(samples / "real.mp4")


def filmed(path: Path, pictures: Sequence[Planes], transfer: Transfer, codec: str = "libx265") -> Path:
    """A file of planes of 10 bits, whose stream says what they are."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options={"threads": "1"} | FINE[codec])
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p10le"
        stream.codec_context.color_trc = TRANSFER[transfer]
        stream.codec_context.color_primaries, stream.codec_context.colorspace = PRIMARIES, MATRIX
        for planes in pictures:
            frame = av.VideoFrame(planes.width, planes.height, "yuv420p10le")
            for plane, samples in zip(frame.planes, (planes.y, planes.u, planes.v), strict=True):
                np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)[:, : plane.width] = samples
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module", params=HDR)
def film(request: pytest.FixtureRequest, portrait: list[Planes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait, as a phone would have filmed it."""
    path = tmp_path_factory.mktemp("hdr") / f"{request.param}.mp4"
    return filmed(path, [as_hdr(planes, request.param) for planes in portrait], request.param)


def shown(nits: float) -> float:
    """The level in 0..255 that ordinary video has for so much light, below the knee."""
    return 255 * float((nits / WHITE) ** (1 / 2.4))


@pytest.mark.parametrize(
    ("transfer", "signal", "nits"),
    [
        (Transfer.PQ, 0.0, 0),
        (Transfer.PQ, 0.3022, 10),
        (Transfer.PQ, 0.4403, 50),
        (Transfer.PQ, 0.5081, 100),
        (Transfer.HLG, 0.0, 0),
        (Transfer.HLG, 0.38, 26),  # BT.2408, table 1: an 18 % grey card
        (Transfer.HLG, 0.5, 1000 * (1 / 12) ** 1.2),
    ],
)
def test_grey_has_the_light_that_the_standards_say(transfer: Transfer, signal: float, nits: float) -> None:
    grey = np.full((3, 2, 2), round(255 * signal), np.uint8)
    seen = as_sdr(grey, transfer)
    np.testing.assert_allclose(seen, shown(nits), atol=2.5)
    assert np.ptp(seen) <= 1, "grey stays grey"


@pytest.mark.parametrize(("transfer", "white"), [(Transfer.PQ, 0.5807), (Transfer.HLG, 0.75)])
def test_diffuse_white_is_nearly_white_and_more_light_is_no_less(transfer: Transfer, white: float) -> None:
    every = as_sdr(np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256)), transfer)[0, 0].astype(int)
    assert 245 <= every[round(255 * white)] <= 249
    assert every[round(255 * white) + 10] > every[round(255 * white)]
    assert every[-1] == 255
    assert (np.diff(every) >= 0).all()


def test_the_primaries_are_those_of_the_standards() -> None:
    """From the chromaticities of BT.2020 and BT.709, and of D65, their white."""

    def to_xyz(*corners: tuple[float, float]) -> np.ndarray:
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in corners]).T
        white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
        return columns * np.linalg.solve(columns, white)

    wide = to_xyz((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
    narrow = to_xyz((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
    np.testing.assert_allclose(TO_709, np.linalg.solve(narrow, wide), atol=1e-4)
    for name, primaries in (("bt2020", wide), ("bt709", narrow)):  # their second row is luma's weights
        np.testing.assert_allclose(LUMA[name], primaries[1, [0, 2]], atol=1e-4)


@pytest.mark.parametrize("transfer", HDR)
def test_every_colour_has_a_picture(transfer: Transfer) -> None:
    cube = np.stack(np.meshgrid(*[np.linspace(0, 255, 18).astype(np.uint8)] * 3)).reshape(3, 18, -1)
    for matrix in (*LUMA, "unknown"):
        seen = as_sdr_of_bt601(cube, transfer, matrix)
        assert (seen.shape, seen.dtype) == (cube.shape, np.uint8)
    assert (as_sdr_of_bt601(cube, transfer, "unknown") == as_sdr_of_bt601(cube, transfer, "bt2020")).all()


def test_a_large_picture_is_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 50, 70), np.uint8)
    whole = as_sdr(picture, Transfer.HLG)
    monkeypatch.setattr(colour, "BAND", 64)
    np.testing.assert_allclose(as_sdr(picture, Transfer.HLG).astype(int), whole, atol=1)


def test_wide_colours_are_more_saturated_in_the_narrower_primaries() -> None:
    red = np.array([150, 100, 100], np.uint8).reshape(3, 1, 1)
    seen = as_sdr(red, Transfer.HLG)[:, 0, 0].astype(int)
    assert seen[0] - seen[1] > 60
    assert abs(seen[1] - seen[2]) < 12


@pytest.mark.parametrize("transfer", HDR)
@pytest.mark.parametrize("reference", [False, True])
def test_the_networks_see_what_ordinary_video_shows(
    transfer: Transfer, reference: bool, portrait: list[Planes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFX_OPS", "numpy" if reference else "")
    before, after = portrait[0], as_hdr(portrait[0], transfer)
    face = np.array([[[200, 150], [280, 150], [240, 190], [210, 230], [270, 230]]], np.float32)
    matrices = similarity(face, CLOSE_TEMPLATE, 96)
    for work in (lambda planes: ops.letterbox([planes], 120, 200), lambda planes: ops.crop([planes], matrices, 96)):
        wanted, seen, naive = (work(planes).astype(int) for planes in (before, after, _taken_for_sdr(after)))
        assert np.abs(seen - wanted).mean() < 1.5
        assert np.abs(naive - wanted).mean() > 12, "it would have been another picture"


def test_ordinary_pictures_beside_it_stay_as_they_are(portrait: list[Planes]) -> None:
    hdr = as_hdr(portrait[0], Transfer.HLG)
    alone, both = ops.letterbox([portrait[0]], 90, 120), ops.letterbox([hdr, portrait[0]], 90, 120)
    assert np.array_equal(alone[0], both[1])
    assert not np.array_equal(alone[0], both[0])


def test_the_stream_says_which_it_is(film: Path, samples: Path) -> None:
    info = probe(film)
    assert info.transfer == film.stem
    assert ("transfer", film.stem) in list(info.rows())
    assert {planes.transfer for planes in pictures_of(film)} == {film.stem}
    assert probe(samples / "real.mp4").transfer == Transfer.SDR
    assert "transfer" not in dict(probe(samples / "real.mp4").rows())
    assert f"HDR ({film.stem})" in str(suits(info, (9, 0)))
    assert suits(replace(info, transfer=Transfer.SDR), (9, 0)) is None


@pytest.mark.parametrize(("codec", "ending"), [("libx264", "mkv"), ("libsvtav1", "webm"), ("libx265", "ts")])
def test_other_codecs_and_containers_say_it_too(
    codec: str, ending: str, portrait: list[Planes], tmp_path: Path
) -> None:
    path = filmed(tmp_path / f"a.{ending}", [as_hdr(portrait[0], Transfer.HLG)] * 3, Transfer.HLG, codec)
    assert probe(path).transfer == Transfer.HLG


def test_ten_bits_alone_are_no_hdr(portrait: list[Planes], tmp_path: Path) -> None:
    path = filmed(tmp_path / "a.mp4", [as_hdr(portrait[0], Transfer.HLG)] * 3, Transfer.SDR)
    assert probe(path).transfer == Transfer.SDR


def test_a_film_scores_about_as_the_ordinary_video(film: Path, samples: Path) -> None:
    plain, row = (dfx.predict_video(path) for path in (samples / "real.mp4", film))
    assert row.reason == Reason.OK
    assert row.probability == pytest.approx(plain.probability, abs=0.15)


def test_people_are_shown_it_in_the_tones_of_ordinary_video(film: Path, portrait: list[Planes], tmp_path: Path) -> None:
    (planes, *_), plain = pictures_of(film), replace(portrait[0], matrix="bt709")
    for draw in (scene, _still):
        wanted, seen, naive = (draw(each).astype(int) for each in (plain, planes, _taken_for_sdr(planes)))
        assert np.abs(seen - wanted).mean() < 3
        assert np.abs(naive - wanted).mean() > 12
    dfx.frames(film, tmp_path, times=[0], progress=False)
    (path,) = tmp_path.rglob("*.png")
    with av.open(str(path)) as container:
        written = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert np.abs(written - _still(plain)).mean() < 3
    untagged = replace(planes, matrix="unknown")
    assert np.array_equal(_still(untagged), _still(planes))
    assert np.abs(scene(untagged).astype(int) - scene(planes)).max() <= 1


def test_crops_are_cut_from_it(film: Path, samples: Path) -> None:
    clips, plain = (Pipeline().clips(path) for path in (film, samples / "real.mp4"))
    assert len(clips) == len(plain)
    assert np.abs(clips[0][1].astype(int) - plain[0][1]).mean() < 4


def test_inspect_names_it(film: Path, tmp_path: Path) -> None:
    dfx.inspect(film, progress=False).save(tmp_path / "table.json")
    assert f"HDR: its tones are {film.stem}" in json.dumps(json.loads((tmp_path / "table.json").read_text()))


def _still(planes: Planes) -> np.ndarray:
    return from_planes(planes).to_ndarray(format="rgb24")


def _taken_for_sdr(planes: Planes) -> Planes:
    return replace(planes, transfer=Transfer.SDR)
