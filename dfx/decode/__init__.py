"""The first seam: `Decoder.read(video, plan) -> Frames`."""

from collections.abc import Iterator
from typing import Protocol

from dfx.info import VideoInfo
from dfx.values import Frames, Plan


class Decoder(Protocol):
    """Turns the planned windows of a video into pictures."""

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """Yields one `Frames` a window, in order of time, so that memory follows a window and not the video.

        Raises CorruptVideoError where not one picture of the plan can be decoded.
        """
