"""Plan: which frames of a video to decode. Pure arithmetic on the packet table.

What makes dfx fast: a window of frames that begins at a keyframe costs only itself, and x264's default puts keyframes
250 frames apart, so a ten-second clip of the challenge has them at 0 and 250. A window elsewhere costs the packets
before it, back to its keyframe or to where the window before it stopped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfx.info import PacketTable, VideoInfo
from dfx.values import Plan, Window

PREROLL = 48  # packets at most that a window away from a keyframe may cost beyond itself: 0.2 s of one core at 1080p


def plan(info: VideoInfo, *, windows: int = 2, count: int = 16, stride: int = 1) -> Plan:
    """Chooses up to `windows` windows of `count` frames, every `stride`-th, that are cheap and far from each other.

    Windows at keyframes come first, each the farthest from those before; then, where keyframes are too few, windows
    that follow a chosen one at a pre-roll of at most PREROLL packets. No two overlap. A clip too short for one whole
    window gets one window of what is there.
    """
    return plan_packets(info.packets, windows=windows, count=count, stride=stride)


def plan_packets(packets: PacketTable, *, windows: int, count: int, stride: int) -> Plan:
    """`plan`, from the packet table alone."""
    timeline = Timeline.of(packets)
    span = (count - 1) * stride + 1
    first = int(timeline.starts[0])
    available = len(packets) - first
    if available < span:
        return Plan((timeline.window(first, -(-available // stride), stride, stop_before=0),))
    starts = _at_keyframes(timeline.starts[timeline.starts + span <= len(packets)], windows, span)
    while len(starts) < windows and (more := _after(starts, span, len(packets))) is not None:
        starts = sorted([*starts, more])
    return Plan(tuple(_priced(timeline, starts, count, stride)))


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The packet table seen from the screen.

    decode: int64 [frames], the packet that each frame of the presentation comes in;
    keys: int64 [keyframes], their packets; starts: the frames that they show, both in decode order.
    """

    decode: NDArray[np.int64]
    keys: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, packets: PacketTable) -> Timeline:
        """Sorts the packets by pts."""
        keys = np.flatnonzero(packets.keyframe)
        return cls(packets.order, keys, packets.rank[keys])

    def window(self, start: int, count: int, stride: int, stop_before: int) -> Window:
        """The window from frame `start`, when the decoder last stopped before packet `stop_before`."""
        frames = self.decode[start : start + (count - 1) * stride + 1 : stride]
        key = int(self.keys[np.flatnonzero(self.starts <= start)[-1]])
        seek = max(key, stop_before)
        return Window(start, count, stride, seek, max(seek, int(frames.max()) + 1))


def _at_keyframes(candidates: NDArray[np.int64], windows: int, span: int) -> list[int]:
    """Farthest-first: the first keyframe, then whichever is farthest from all that are chosen, while none overlap."""
    chosen = [int(candidates[0])] if len(candidates) else []
    while candidates.size and len(chosen) < windows:
        distance = np.abs(candidates[:, None] - np.array(chosen)).min(axis=1)
        best = int(distance.argmax())
        if distance[best] < span:
            break
        chosen.append(int(candidates[best]))
    return sorted(chosen)


def _after(starts: list[int], span: int, frames: int) -> int | None:
    """The start of a further window, as far behind a chosen one as the pre-roll allows, in the widest gap."""
    ends = [*starts[1:], frames]
    options = [(end - start, min(start + span + PREROLL, end - span)) for start, end in zip(starts, ends, strict=True)]
    gap, best = max(options)
    return best if gap >= 2 * span else None


def _priced(timeline: Timeline, starts: list[int], count: int, stride: int) -> list[Window]:
    chosen: list[Window] = []
    for start in starts:
        chosen.append(timeline.window(start, count, stride, chosen[-1].stop if chosen else 0))
    return chosen
