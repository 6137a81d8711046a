"""stub"""

from __future__ import annotations

from typing import Any

from dfx.errors import DeviceError


class Lane:
    """stub"""

    device: int
    stream: int

    def __init__(self, device: int) -> None:
        raise DeviceError("stub")

    def __enter__(self) -> Lane:
        return self

    def __exit__(self, *_: object) -> None: ...


class DeviceArray:
    """stub"""

    shape: tuple[int, ...]
    dtype: Any
    pointer: int

    def reshape(self, shape: tuple[int, ...]) -> DeviceArray:
        raise NotImplementedError

    @classmethod
    def over(cls, *_: Any) -> DeviceArray:
        raise NotImplementedError


def missing() -> str | None:
    """stub"""
    return "no NVIDIA driver"


def device_count() -> int:
    return 0


def device_name(i: int) -> str:
    return ""


def memory(i: int) -> int:
    return 0


def compute_capability(i: int) -> tuple[int, int]:
    return 0, 0
