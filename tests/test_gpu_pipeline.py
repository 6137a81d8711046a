"""The pipeline on surfaces: with DALI on the host and the kernels emulated, and on a real GPU where there is one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
from cuda_driver import driver
from tolerances import BACKEND_SCORE

import dfx
from dfx.decode.dali import DALIDecoder
from dfx.device import Crew
from dfx.govern import Once
from dfx.info import VideoInfo
from dfx.pipeline import Pipeline
from dfx.pool import Pool
from dfx.settings import Limits, Settings
from dfx.values import Frames, Plan, Reason


def in_vp9(source: Path, target: Path) -> Path:
    """The same pictures in VP9, which DALI decodes without a GPU."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream("libvpx-vp9", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = old.streams.video[0].width, old.streams.video[0].height, "yuv420p"
        stream.bit_rate = 8_000_000  # at 2 a shadow scores so near the detector's bound that a grey level decides on it
        stream.options = {"deadline": "realtime", "cpu-used": "8"}
        for number, frame in enumerate(old.decode(video=0)):
            frame.pts, frame.time_base = number, Fraction(1, 30)
            new.mux(stream.encode(frame))
        new.mux(stream.encode(None))
    return target


@pytest.mark.dali
@pytest.mark.parametrize("name", ["real.mp4", "manipulated.mp4", "no_face.mp4"])
def test_surfaces_score_as_planes_do(samples: Path, tmp_path: Path, name: str) -> None:
    clip = in_vp9(samples / name, tmp_path / f"{Path(name).stem}.mp4")
    planes, surfaces = Pipeline(), Pipeline()
    surfaces.gpu_decoder = DALIDecoder()
    one, other = planes.predict(clip), surfaces.predict(clip)
    assert other.reason == one.reason, other.detail
    assert [(a.track, a.start, a.end) for a in other.clips] == [(b.track, b.start, b.end) for b in one.clips]
    assert other.probability == pytest.approx(one.probability, abs=BACKEND_SCORE)
    assert other.clips == one.clips == () or other.clips != one.clips, "the two ways are not the same code"


@pytest.mark.dali
def test_what_dali_cannot_read_the_cpu_reads(samples: Path) -> None:
    """H.264, which DALI reads on a GPU only."""
    pipeline = Pipeline()
    pipeline.gpu_decoder = DALIDecoder()
    row = pipeline.predict(samples / "real.mp4")
    assert row.reason == Reason.OK
    assert row.probability == Pipeline().predict(samples / "real.mp4").probability


class Refusing:
    """In place of the CPU's decoder, where it is not to be needed."""

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        raise AssertionError(f"{info.path.name} was left to the CPU's decoder")


@pytest.mark.gpu
class TestOnAGpu:
    """What must be seen on a card."""

    def test_scores_are_those_of_the_cpu(self, samples: Path) -> None:
        cpu = dfx.predict_dir(samples, device="cpu", progress=False)
        gpu = dfx.predict_dir(samples, device="cuda:0", progress=False)
        assert [row.reason for row in gpu] == [row.reason for row in cpu]
        for ours, theirs in zip(cpu, gpu, strict=True):
            assert theirs.probability == pytest.approx(ours.probability, abs=BACKEND_SCORE)

    def test_the_gpu_decoded(self, samples: Path) -> None:
        pipeline = Pipeline(device=0)
        pipeline.decoder = Refusing()
        assert pipeline.predict(samples / "real.mp4").reason == Reason.OK

    def test_a_broken_file_harms_no_other(self, samples: Path, tmp_path: Path) -> None:
        whole = (samples / "real.mp4").read_bytes()
        for number in range(9):
            (tmp_path / f"{number}.mp4").write_bytes(whole)
        damaged = bytearray(whole)
        damaged[len(whole) // 3 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 3)
        (tmp_path / "4.mp4").write_bytes(damaged)
        rows = dfx.predict_dir(tmp_path, device="cuda:0", progress=False)
        others = {row.probability for row in rows if row.filename != "4.mp4"}
        assert len(others) == 1
        assert {row.reason for row in rows if row.filename != "4.mp4"} == {Reason.OK}

    def test_one_of_two_processes_may_die(self, samples: Path) -> None:
        once = Once({f"{number}.mp4": samples / "real.mp4" for number in range(24)}, 2, 60)
        with Pool(Settings(), Limits(), [Crew(0, 2)] * 2) as pool:
            results = pool.run(once)
            rows = [next(results)[1]]
            os.kill(pool.pids[0], signal.SIGKILL)
            rows += [row for _, row in results]
        assert len(rows) == 24
        assert {row.reason for row in rows} == {Reason.OK}


def test_without_a_gpu_cuda_names_the_mend(samples: Path) -> None:
    if driver() is not None:
        pytest.skip("there is a GPU")
    with pytest.raises(dfx.errors.DeviceError, match=r"cuda cannot serve: .*driver"):
        dfx.predict_dir(samples, device="cuda", progress=False)
