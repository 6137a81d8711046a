"""stub"""

from __future__ import annotations

from collections.abc import Iterator

from dfx.values import Frames, Plan, VideoInfo


class DALIDecoder:
    """stub"""

    def __init__(self, device: int, stream: int = 0, pixels: int = 0) -> None: ...
    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        raise NotImplementedError


def suits(info: VideoInfo, capability: tuple[int, int]) -> str | None:
    return ""


def missing() -> str | None:
    return None
