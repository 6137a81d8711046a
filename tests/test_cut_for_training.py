"""Where `dfx train` cuts its clips: on a GPU that is pretended, but for its decoder and networks dfx's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[train]')")
pytest.importorskip("pytorch_lightning", reason="Lightning is not installed (pip install 'dfx[train]')")

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from simulated import SimulatedDALI
from surfaces import pretended_kernels
from tolerances import GREY_LEVEL

import dfx.classify
import dfx.contain
import dfx.decode.dali
import dfx.detect
import dfx.infer
import dfx.pipeline
from dfx.clip_cache import CachedClips, ClipsTask, same_bytes
from dfx.decode.cut import Cut
from dfx.decode.dali import NEWEST, DALIDecoder, Piece
from dfx.errors import DeviceMemoryError, InputError
from dfx.find import Found
from dfx.infer.contract import contract_to_cut
from dfx.infer.session import OnnxSession
from dfx.info import VideoInfo
from dfx.ops import cuda
from dfx.ops.cuda import Lane
from dfx.settings import HOST, Limits
from dfx.torch import train
from dfx.torch.clipnet import TIGHT
from dfx.torch.options import Options
from dfx.torch.train import cached, cutters
from dfx.values import Surface

pytestmark = pytest.mark.torch


class StandInTensor:
    """A tensor of DALI's in the lane's memory."""

    def __init__(self, pictures: np.ndarray, lane: Lane) -> None:
        self._array = cuda.upload(pictures, lane)

    def data_ptr(self) -> int:
        return self._array.pointer

    def shape(self) -> tuple[int, ...]:
        return self._array.shape


class StandInDecoder(DALIDecoder):
    """The decoder of a GPU, but for DALI: its surfaces are in the lane's memory."""

    used = 0

    def __init__(self, lane: Lane, pixels: int | None) -> None:
        self._lane, self._pixels, self._capability = lane, pixels, NEWEST

    def _decode(self, info: VideoInfo, part: Cut, pieces: Sequence[Piece]) -> StandInTensor:
        StandInDecoder.used += len(pieces)
        return super()._decode(info, part, pieces)

    def _tensor(self, info: VideoInfo, part: Cut, wanted: Sequence[int]) -> StandInTensor:
        return StandInTensor(SimulatedDALI()._tensor(info, part, wanted), self._lane)


class StandInSession(OnnxSession):
    """A GPU's session: takes what lies on the GPU, and leaves its outputs there."""

    def run(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        found = super().run({name: np.asarray(array) for name, array in inputs.items()})
        return {name: cuda.upload(array) for name, array in found.items()}


def open_session(path: Path, contract: Any, *, lane: Lane, engines: Path | None) -> StandInSession:
    assert (lane.device, engines) == (0, None)
    return StandInSession(path, inputs=contract.inputs, outputs=contract.outputs)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU, whose kernels run on the CPU."""
    kernels = pretended_kernels()
    monkeypatch.setattr(cuda, "kernels", lambda: kernels)
    monkeypatch.setattr(dfx.decode.dali, "DALIDecoder", StandInDecoder)
    monkeypatch.setattr(dfx.detect, "open_session", open_session)
    monkeypatch.setattr(dfx.classify, "open_session", open_session)
    monkeypatch.setattr(train, "missing", lambda: None)
    StandInDecoder.used = 0


def test_a_gpu_cuts_what_the_cpu_cuts(samples: Path, tmp_path: Path, gpu: None) -> None:
    there = ClipsTask(Limits(), windows=2, cut=TIGHT.contract, device=0)
    assert there(str(samples / "real.mp4"), str(tmp_path / "there.npz"))["clips"] > 0
    assert StandInDecoder.used == 2
    clips = CachedClips.open(tmp_path / "there.npz")
    expected = [
        clip for _, clip in _host_pipeline().clips(samples / "real.mp4", contract=contract_to_cut(**TIGHT.contract))
    ]
    assert len(clips) == len(expected)
    for ours, theirs in zip(clips.all(), expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(np.float32) - theirs).mean() < GREY_LEVEL


def test_a_card_without_memory_for_planes_leaves_a_video_to_the_cpu_s_decoder(
    samples: Path, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise DeviceMemoryError("cuMemAlloc: full")

    monkeypatch.setattr(dfx.decode.dali, "unmix", full)
    row = dfx.pipeline.Pipeline(device=0).predict(samples / "real.mp4")
    assert (row.reason, len(row.clips), StandInDecoder.used) == ("ok", 2, 2)


def test_a_card_without_memory_for_the_faces_leaves_the_video_too(
    samples: Path, gpu: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it is said once, since a run whose every video goes this way is slow."""
    pipeline = dfx.pipeline.Pipeline(device=0)
    real = pipeline.detector.watch

    def full(pictures: Any) -> Any:
        if isinstance(pictures[0], Surface):
            raise DeviceMemoryError("cuMemAlloc: full")
        return real(pictures)

    monkeypatch.setattr(pipeline.detector, "watch", full)
    rows = [pipeline.predict(samples / "real.mp4") for _ in range(2)]
    assert [(row.reason, len(row.clips)) for row in rows] == [("ok", 2)] * 2
    assert capsys.readouterr().err.count("cuMemAlloc: full. The CPU's decoder is tried") == 1


def _host_pipeline() -> dfx.pipeline.Pipeline:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dfx.detect, "open_session", dfx.infer.open_session)
        patch.setattr(dfx.classify, "open_session", dfx.infer.open_session)
        return dfx.pipeline.Pipeline()


def test_the_gpu_that_trains_cuts_and_the_cpu_has_the_rest(gpu: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cutters(Options(device="cuda:0", workers=3)) == [(0, 3), (HOST, 3)]
    assert "cuts on cuda:0 (pretended)" in capsys.readouterr().err
    assert (cutters(Options(device="cuda"))[0][1] or 0) >= 1
    assert cutters(Options(device="cuda", cut="cpu")) == cutters(Options(device="cpu")) == [(HOST, None)]
    with pytest.raises(InputError, match="cut is 'gpu'; auto or cpu"):
        cutters(Options(cut="gpu"))


def test_without_a_gpu_it_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(train, "missing", lambda: "DALI is not there")
    assert cutters(Options(device="cuda", workers=2)) == [(HOST, 2)]
    assert "no GPU can: DALI is not there" in capsys.readouterr().err


def test_what_a_gpu_cannot_cut_the_cpu_cuts(
    samples: Path, tmp_path: Path, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its child dies of every video; the broken file fails on both, and its reason is the CPU's."""
    broken, asked = tmp_path / "broken.mp4", []

    def contained(task: str, options: dict[str, Any], jobs: Any, limits: Limits, workers: int | None) -> Iterator[Any]:
        asked.append((options["device"], len(jobs)))
        if options["device"] != HOST:
            yield from ((place, {"reason": "crashed", "detail": "of the GPU"}) for place in range(len(jobs)))
            return
        yield from real_contained(task, options, jobs, limits, workers)

    broken.write_bytes(b"no video")
    real_contained = dfx.contain.contained
    monkeypatch.setattr(train, "contained", contained)
    found = [Found("real.mp4", samples / "real.mp4"), Found("broken.mp4", broken)]
    clips, skipped = cached(found, tmp_path / "clips", Options(device="cuda", workers=1))
    assert asked == [(0, 2), (HOST, 2)]
    assert list(clips) == ["real.mp4"]
    assert skipped["broken.mp4"].startswith("corrupt")


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"PK\x03\x04 cut"])
def test_a_damaged_file_of_clips_is_not_of_the_same_bytes(samples: Path, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "c.npz").write_bytes(damage)
    assert not same_bytes(samples / "real.mp4", tmp_path / "c.npz")
    assert not same_bytes(samples / "real.mp4", tmp_path / "nowhere.npz")
