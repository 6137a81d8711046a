"""What decoding a plan costs beside other ways to the same frames, and to as many: CPU time, on one thread each.

Example:
    python benchmarks/decoding.py --json benchmarks/results/decoding.json

The clip is in the challenge's manner (1080p, 300 frames, keyframes at 0 and 250) unless one is given. Each way has a
process of its own, all with the environment of a dfx worker, whose malloc keeps memory: the others gain by it too. They
take turns. Opening the file is part of every way, and no way keeps pictures, but those whose call returns them all at
once. Frames of the peers are compared with dfx's after the timing.

torchcodec finds no FFmpeg of its own where the system has none: it is given PyAV's, under the names that it looks for.
`pip install --no-deps torchcodec==0.13.0` serves beside a CPU's torch 2.13; 0.17 asks for CUDA's libnvrtc.
A peer that is not there, or cannot be loaded, is left out, and the figures say why.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
from av.codec.context import Flags
from av.video.frame import VideoFrame
from figures import json_option, publish
from numpy.typing import NDArray
from whole_job import challenge_clip

from dfx.decode.container import UNANALYSED, Reader, open_video
from dfx.decode.pyav import PyAVDecoder
from dfx.info import VideoInfo
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.process import environment
from dfx.values import Plan

Pictures = Iterable[NDArray[np.uint8]]
Way = Callable[[VideoInfo, Plan], Pictures]
AGREEMENT = 3.0  # levels, mean: peers hand on RGB, whose luma is computed back here
EVERY = 40  # pixels from one that is compared to the next
BT601 = np.array([0.299, 0.587, 0.114]) * 219 / 255  # luma of RGB, in video range


def plan(info: VideoInfo, chosen: Plan) -> Pictures:
    """The planned frames, by dfx."""
    for frames in PyAVDecoder().read(info, chosen):
        yield from (planes.y for planes in frames.pictures)  # type: ignore[misc, union-attr]


def plan_and_probe(info: VideoInfo, chosen: Plan) -> Pictures:
    """The same, and what dfx reads of the container before it can plan."""
    return plan(probe(info.path), chosen)


def same_packets(info: VideoInfo, chosen: Plan) -> Pictures:
    """The packets that dfx sends, with the same skips, by PyAV alone: only another plan could cost less."""
    rank, wanted = info.packets.rank, {index for window in chosen.windows for index in window.frames}
    with open_video(info.path, options=UNANALYSED) as (container, stream):
        context, reader = stream.codec_context, Reader(container, stream, info.packets)
        context.thread_count, context.flags = 1, context.flags | Flags.unaligned
        context.options |= {"strict": "strict"}
        for window in chosen.windows:
            for index, packet in reader.between(window.seek, window.stop):
                context.skip_frame = "DEFAULT" if int(rank[index]) in wanted else "NONREF"
                yield from map(_luma, context.decode(packet))
            yield from map(_luma, context.decode(None))
            context.flush_buffers()


def as_many_frames(info: VideoInfo, chosen: Plan) -> Pictures:
    """As many frames as the plan hands on, from the beginning, by PyAV."""
    return _first(info, sum(window.count for window in chosen.windows))


def as_many_decoded(info: VideoInfo, chosen: Plan) -> Pictures:
    """As many frames as the plan has to decode, from the beginning, by PyAV."""
    return _first(info, _decoded(info, chosen))


def as_many_packets(info: VideoInfo, chosen: Plan) -> Pictures:
    """As many frames as packets that are sent, from the beginning, by PyAV."""
    return _first(info, chosen.price)


def opencv(info: VideoInfo, chosen: Plan) -> Pictures:
    """The same frames by OpenCV: a jump to each window, and what lies between is grabbed and not converted."""
    import cv2

    video = cv2.VideoCapture(str(info.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    for window in chosen.windows:
        video.set(cv2.CAP_PROP_POS_FRAMES, window.start)
        for index in window.frames:
            while int(video.get(cv2.CAP_PROP_POS_FRAMES)) < index:
                video.grab()
            yield video.read()[1][:, :, ::-1]


def decord(info: VideoInfo, chosen: Plan) -> Pictures:
    """The same frames by decord, in one batch."""
    import decord as peer

    return list(peer.VideoReader(str(info.path), num_threads=1).get_batch(_indices(chosen)).asnumpy())


def torchcodec(info: VideoInfo, chosen: Plan) -> Pictures:
    """The same frames by torchcodec, in one batch."""
    from torchcodec.decoders import VideoDecoder

    batch = VideoDecoder(str(info.path), num_ffmpeg_threads=1).get_frames_at(_indices(chosen)).data
    return list(batch.permute(0, 2, 3, 1).numpy())


WAYS: tuple[Way, ...] = (
    plan,
    plan_and_probe,
    same_packets,
    as_many_frames,
    as_many_decoded,
    as_many_packets,
    opencv,
    decord,
    torchcodec,
)
SAME = {"plan", "plan_and_probe", "opencv", "decord", "torchcodec"}  # ways to the very frames of the plan


@cache
def _decoded(info: VideoInfo, chosen: Plan) -> int:
    return sum(1 for _ in same_packets(info, chosen))


def _luma(frame: VideoFrame) -> NDArray[np.uint8]:
    return np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(frame.height, -1)


def _first(info: VideoInfo, count: int) -> Pictures:
    with av.open(str(info.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _, frame in zip(range(count), container.decode(stream), strict=False):
            yield _luma(frame)


def _indices(chosen: Plan) -> list[int]:
    return [index for window in chosen.windows for index in window.frames]


@click.command()
@click.argument("clip", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=41, show_default=True)
@click.option("--without", multiple=True, help="Ways to leave out.")
@json_option
def main(clip: Path | None, rounds: int, without: tuple[str, ...], out: Path | None) -> None:
    """Print the CPU time of each way, and what the plan takes beside it."""
    with tempfile.TemporaryDirectory() as folder:
        clip = clip or challenge_clip(Path(folder) / "made.mp4")
        names = [way.__name__ for way in WAYS if way.__name__ not in without]
        peers = {name: Peer(name, clip, ffmpeg(Path(folder) / "ffmpeg")) for name in names}
        skipped = {name: peer.reason for name, peer in peers.items() if peer.reason}
        peers = {name: peer for name, peer in peers.items() if not peer.reason}
        turns = [_round(peers) for _ in range(rounds + 2)][2:]  # two to warm up
        pictures = {name: peer.pictures() for name, peer in peers.items()}
        for peer in peers.values():
            peer.end()
    check({name: pictures[name] for name in SAME & pictures.keys()})
    figures = {
        "rounds": rounds,
        "frames": {name: len(found) for name, found in pictures.items()},
        "milliseconds": {name: round(1000 * statistics.median(turn[name] for turn in turns), 1) for name in peers},
        "plan_beside": {
            name: round(statistics.median(turn["plan"] / turn[name] for turn in turns), 3) for name in peers
        },
        "skipped": skipped,
    }
    publish(figures, out)


def _round(peers: dict[str, Peer]) -> dict[str, float]:
    """A turn each, in an order drawn anew: who follows a way that fills the caches with its own pays for it."""
    return {name: peers[name].turn() for name in random.sample(list(peers), len(peers))}


class Peer:
    """A way in a process of its own. reason: why it cannot run, None where it can."""

    def __init__(self, name: str, clip: Path, libraries: Path) -> None:
        found = {"LD_LIBRARY_PATH": f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, name, str(clip)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment() | (found if name == "torchcodec" else {}),
        )
        self.reason: str | None = self._ask("begin")

    def turn(self) -> float:
        """CPU seconds of one round."""
        return float(self._ask("turn"))

    def pictures(self) -> list[list[list[float]]]:
        """A part of the luma of each picture."""
        found: list[list[list[float]]] = self._ask("pictures")
        return found

    def end(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _ask(self, word: str) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(word, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


def serve(name: str, clip: Path) -> None:
    """The life of a peer's process."""
    way, info = next(way for way in WAYS if way.__name__ == name), probe(clip)
    chosen = Pipeline().plan(info)
    for line in sys.stdin:
        if line == "turn\n":
            started = time.process_time()
            for _ in way(info, chosen):
                pass
            answer: object = time.process_time() - started
        elif line == "pictures\n":
            answer = [_part(picture).tolist() for picture in way(info, chosen)]
        else:
            answer = _lacking(way, info, chosen)
        print(json.dumps(answer), flush=True)


def _lacking(way: Way, info: VideoInfo, chosen: Plan) -> str | None:
    try:
        list(way(info, chosen))
    except (ImportError, OSError, RuntimeError) as error:  # torchcodec without an FFmpeg that it can load
        return str(error).strip().splitlines()[0]
    return None


def _part(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    part = picture[::EVERY, ::EVERY].astype(np.float64)
    return part if part.ndim == 2 else part @ BT601 + 16


def check(found: dict[str, Sequence[list[list[float]]]]) -> None:
    """The peers' pictures must be the plan's."""
    for name, pictures in found.items():
        for ours, theirs in zip(found["plan"], pictures, strict=True):
            left, right = np.array(ours), np.array(theirs)
            columns = min(left.shape[1], right.shape[1])
            assert np.abs(left[:, :columns] - right[:, :columns]).mean() < AGREEMENT, name


def ffmpeg(folder: Path) -> Path:
    """A folder of PyAV's own FFmpeg, with links of the names that other programs look for."""
    folder.mkdir(exist_ok=True)
    for library in _bundled():
        names = {library.name}
        if known := re.match(r"(lib(?:av|sw)[a-z]+)-[0-9a-f]+\.so\.(\d+)", library.name):
            names.add(f"{known[1]}.so.{known[2]}")
        for name in names:
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(library)
    return folder


def _bundled() -> Iterator[Path]:
    assert av.__file__
    return (Path(av.__file__).parents[1] / "av.libs").glob("*.so*")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in {way.__name__ for way in WAYS}:
        serve(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
