"""The choice of the device: said in a line, never silent, and an error that names the mend where a GPU cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest

import dfx
from dfx import device
from dfx.device import Choice, Crew, choose, lanes_of
from dfx.errors import DeviceError, InputError
from dfx.infer import nvinfer
from dfx.ops import cuda
from dfx.predict import _needed
from dfx.settings import HOST

GIB = 2**30


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "missing", lambda: None)
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    monkeypatch.setattr(cuda, "device_name", lambda index: f"Card {index}")
    monkeypatch.setattr(cuda, "memory", lambda index: 16 * GIB)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("wanted", "gpus"), [("auto", (0, 1)), ("cuda", (0, 1)), ("cuda:1", (1,)), ("cpu", ())])
def test_what_is_chosen(wanted: str, gpus: tuple[int, ...]) -> None:
    assert choose(wanted).gpus == gpus


@pytest.mark.usefixtures("two_gpus")
def test_the_choice_names_the_cards() -> None:
    assert choose("auto").why == "cuda:0 (Card 0), cuda:1 (Card 1)"


@pytest.mark.usefixtures("two_gpus")
def test_a_card_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError, match="cuda:2 is not there: this machine has 2 GPUs"):
        choose("cuda:2")


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch, two_gpus: None) -> None:
    """TensorRT for the first of the two, which is newer than the second."""
    monkeypatch.setattr(nvinfer, "missing", lambda: None)
    monkeypatch.setattr(cuda, "compute_capability", lambda index: [(7, 5), (6, 0)][index])


@pytest.mark.usefixtures("tensorrt")
def test_tensorrt_is_taken_where_it_is_asked_for_alone() -> None:
    assert choose("tensorrt:0") == Choice((0,), "tensorrt:0 (Card 0)", tensorrt=(0,))
    assert choose("cuda:0").tensorrt == choose("auto").tensorrt == ()


@pytest.mark.usefixtures("tensorrt")
@pytest.mark.parametrize("wanted", ["tensorrt", "tensorrt:1"])
def test_a_card_that_tensorrt_does_not_serve_is_named(wanted: str) -> None:
    with pytest.raises(DeviceError, match=r"tensorrt:1 cannot serve: Card 1 has compute capability 6\.0, and TensorRT"):
        choose(wanted)


@pytest.mark.usefixtures("two_gpus")
def test_tensorrt_that_is_missing_is_said_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvinfer, "missing", lambda: "no libnvinfer.so.10: install it")
    with pytest.raises(DeviceError, match=r"tensorrt:0 cannot serve: no libnvinfer\.so\.10: install it"):
        choose("tensorrt:0")
    with pytest.raises(DeviceError, match="tensorrt cannot serve"):
        choose("tensorrt")


@pytest.mark.usefixtures("tensorrt")
def test_engines_go_to_the_gpus_that_run_them() -> None:
    choice = Choice((0, 1), "", tensorrt=(0,), engines=Path("engines"))
    assert choice.crews(2, cores=4) == [Crew(0, 2, "engines"), Crew(1, 2)]
    assert Choice((0,), "", tensorrt=(0,)).crews(2, cores=4) == [Crew(0, 2)]


@pytest.mark.parametrize("wanted", ["tensorrt:", "trt", "TensorRT", "gpu", "cuda:", "cuda:-1", "", "CPU"])
def test_other_words_are_refused(wanted: str) -> None:
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        choose(wanted)


def test_without_a_gpu_auto_says_why_and_cuda_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "missing", lambda: "no driver: install one")
    assert choose("auto") == Choice((), "the CPU, since no GPU can serve: no driver: install one")
    with pytest.raises(DeviceError, match="cuda cannot serve: no driver: install one"):
        choose("cuda")


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "tensorrt", "tensorrt:0"])
def test_without_a_gpu_it_ends_at_once(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr(device, "missing", lambda: "no driver: install one")
    with pytest.raises(DeviceError, match=f"^{wanted} cannot serve: no driver: install one$"):
        dfx.predict_dir(samples, tmp_path / "s.csv", device=wanted)
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.usefixtures("two_gpus")
def test_a_process_for_a_few_lanes_of_a_gpu_and_a_process_a_core() -> None:
    assert choose("cuda").crews(None, cores=4) == [Crew(0, 4), Crew(0, 4), Crew(1, 4), Crew(1, 4)]
    assert choose("cuda:1").crews(None, cores=1) == [Crew(1, 2)]
    assert choose("cuda:1").crews(3, cores=4) == [Crew(1, 3)]
    assert choose("cuda:1").crews(13, cores=4) == [Crew(1, 3), Crew(1, 3), Crew(1, 3), Crew(1, 4)]
    assert choose("cpu").crews(None, cores=2) == [Crew(HOST, 1)] * 2


def test_no_more_processes_than_have_a_video_to_begin_with() -> None:
    crews = [Crew(0, 6), Crew(0, 6), Crew(1, 6)]
    assert [len(_needed(crews, videos)) for videos in (0, 1, 6, 7, 12, 13, 99)] == [1, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("memory", "cores", "lanes"), [(8, 4, 4), (16, 2, 4), (80, 16, 16), (1, 4, 1)])
def test_lanes_follow_memory_and_cores(memory: int, cores: int, lanes: int) -> None:
    assert lanes_of(memory * GIB, cores) == lanes
