"""The network that ships: a second one beside the views, less what is expected of real faces of such texture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs torch (pip install 'dfx[train]')")
pytestmark = pytest.mark.torch

from torch.nn import functional  # noqa: E402

from dfx.errors import ModelError  # noqa: E402
from dfx.torch.clip_data import FOLDS, Labelled, Sample, VideoClips  # noqa: E402
from dfx.torch.clipnet import LITE1, ClipNet, FrameNet  # noqa: E402
from dfx.torch.crop_store import Shard  # noqa: E402
from dfx.torch.expectation import Beyond, Clues, Expectation, clues_of  # noqa: E402
from dfx.torch.folds import labels  # noqa: E402
from dfx.torch.labelled import jpeg  # noqa: E402
from dfx.torch.mesonet import PUBLISHED, SIZE, MesoNet, published  # noqa: E402
from dfx.torch.start import begin  # noqa: E402
from dfx.torch.steady import EDGE, FRAME, SECOND, SteadyNet, classifier_of  # noqa: E402
from dfx.torch.texture import FLOOR, LEVELS, Texture  # noqa: E402
from dfx.torch.train_classifier import main as train_classifier  # noqa: E402
from dfx.torch.train_mesonet import Crops  # noqa: E402
from dfx.torch.train_mesonet import main as train_mesonet  # noqa: E402
from dfx.torch.views import VIEWED, ViewedNet  # noqa: E402

FACE, AROUND = slice(0, None, 2), slice(1, None, 2)  # columns of a texture


def noise(count: int = 1, seed: int = 0) -> Any:
    """Frames of every fineness, float [count, 3, 280, 280]."""
    rng = torch.Generator().manual_seed(seed)
    octaves = [
        torch.randn(count, 1, -(-280 // 2**level), -(-280 // 2**level), generator=rng) for level in range(LEVELS + 1)
    ]
    whole = sum(functional.interpolate(octave, (280, 280), mode="nearest") for octave in octaves)
    return (128 + 12 * whole).clamp(0, 255).expand(-1, 3, -1, -1)


@pytest.fixture
def texture() -> Texture:
    return Texture(VIEWED.size, VIEWED.around)


def test_a_flat_picture_has_the_least_texture(texture: Texture) -> None:
    flat = torch.tensor([10.0, 200.0, 90.0]).view(1, 3, 1, 1).expand(1, 3, 280, 280)
    torch.testing.assert_close(texture(flat), torch.full((1, 2 * LEVELS), FLOOR).log(), rtol=0, atol=1e-2)


def test_contrast_adds_the_same_at_every_fineness(texture: Texture) -> None:
    frames = noise()
    twice = texture(2 * (frames - 128) + 128) - texture(frames)
    torch.testing.assert_close(twice, torch.full_like(twice, np.log(4)), rtol=0, atol=0.02)


def test_brightness_is_no_texture(texture: Texture) -> None:
    frames = noise()
    torch.testing.assert_close(texture(frames + 20), texture(frames), rtol=0, atol=1e-3)


def test_blur_takes_what_is_fine_and_leaves_what_is_coarse(texture: Texture) -> None:
    frames = noise()
    lost = texture(frames) - texture(functional.avg_pool2d(frames, 5, 1, 2, count_include_pad=False))
    assert (lost[:, :2] > 2).all()
    assert (lost[:, -2:].abs() < 0.2).all()
    assert (lost[0, FACE].diff() < 0).all()


def test_the_face_and_what_is_around_it_are_told_apart(texture: Texture) -> None:
    frames, inner = noise(), slice(100, 180)
    changed = frames.clone()
    changed[..., inner, inner] = 128
    change = texture(changed) - texture(frames)
    assert (change[0, FACE] < -0.1).all()
    assert (change[0, AROUND] == 0).all()
    changed = frames.clone()
    changed[..., :32, :] = 128
    change = texture(changed) - texture(frames)
    assert (change[0, FACE] == 0).all()
    assert (change[0, AROUND] < -0.1).all()


@pytest.mark.parametrize("level", range(LEVELS))
def test_a_level_is_an_octave(texture: Texture, level: int) -> None:
    """Stripes as wide as half of a level's cells have all their energy there: theirs is their variance."""
    stripes = (torch.arange(280) // 2**level % 2).float() * 40 + 100
    found = texture(stripes.expand(1, 3, 280, 280)).exp() - FLOOR
    wanted = torch.zeros(1, 2 * LEVELS)
    wanted[:, 2 * level : 2 * level + 2] = 20.0**2
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=0.02)


@pytest.fixture
def clips() -> Any:
    return noise(8).round().to(torch.uint8).view(2, 4, 3, VIEWED.size, VIEWED.size)


def test_a_steady_net_begins_as_one_with_views(clips: Any) -> None:
    torch.manual_seed(0)
    net = ClipNet(LITE1)
    with torch.no_grad():
        torch.testing.assert_close(SteadyNet(net).eval()(clips), ViewedNet(net).eval()(clips))


def test_what_is_expected_is_taken_off_and_the_second_opinion_added(clips: Any) -> None:
    torch.manual_seed(0)
    plain, second = ClipNet(LITE1), MesoNet().eval().requires_grad_(False)
    second.vote.weight.mul_(1000)  # chance alone would say the same of every face
    net = SteadyNet(plain, second).eval()
    torch.nn.init.normal_(net.expected.weight)
    inner = slice(EDGE, EDGE + SIZE)
    with torch.no_grad():
        textures = torch.stack([net.texture(clip).mean(dim=0) for clip in clips])
        opinion = second(clips[:, FRAME, :, inner, inner])
        wanted = ViewedNet(plain).eval()(clips) + SECOND * opinion - net.expected(textures)[:, 0]
        torch.testing.assert_close(net(clips), wanted, rtol=1e-4, atol=1e-4)
    assert opinion.diff().abs() > 1e-2


@pytest.mark.parametrize("second", [None, MesoNet(PUBLISHED)])
def test_a_steady_net_comes_back_from_its_file(second: MesoNet | None, clips: Any, tmp_path: Path) -> None:
    net = SteadyNet(ClipNet(LITE1), second).eval()
    torch.nn.init.normal_(net.expected.weight)
    net.expected.highest.fill_(2.0)  # less than these clips have
    torch.save({"net": net.state_dict(), "scale": 1.0, "bias": 0.0, "views": True}, tmp_path / "classifier.pt")
    again = classifier_of(torch.load(tmp_path / "classifier.pt", weights_only=True)).eval()
    assert isinstance(again, SteadyNet)
    with torch.no_grad():
        assert torch.equal(again(clips), net(clips))
    begun = begin(tmp_path / "classifier.pt", "lite1").state_dict()
    assert all(torch.equal(weight, net.state_dict()[name]) for name, weight in begun.items())


RNG = np.random.default_rng(0)
SLOPES = RNG.normal(size=6)


def sample(number: int, fold: str, fake: bool) -> Sample:
    pixels = np.zeros((3, 1, 1, 1, 1), np.uint8)
    people, sure = np.array([0, 0, 1]), np.ones(3)
    video = Labelled(f"{number}.mp4", fake, "", str(number), fold)
    return Sample(video, VideoClips(pixels, people, sure), torch.empty(0))


def clues(fake: bool) -> Clues:
    """Votes that follow from textures, and a little from whether it is fake."""
    textures = RNG.normal(size=(3, 6)) * 0.02 + RNG.uniform(-2, 2, size=6)
    return Clues(textures @ SLOPES + 0.3 * fake + RNG.normal(size=3) * 0.02, textures)


@pytest.fixture
def videos() -> tuple[list[Sample], dict[str, Clues]]:
    data = [sample(i, FOLDS[i % len(FOLDS)], i % 3 == 0) for i in range(150)]
    return data, {each.video.filename: clues(each.video.fake) for each in data}


def test_what_texture_explains_is_taken_off(videos: tuple[list[Sample], dict[str, Clues]]) -> None:
    data, known = videos
    beyond, fake = Beyond(known), labels(data)
    assert beyond.explained(data) > 0.99
    raw = np.array([each.clips.video_logit(known[each.video.filename].votes.tolist()) for each in data])
    left = beyond.unseen(data)
    assert raw[fake].min() < np.median(raw[~fake]), "votes alone do not tell them apart"
    assert raw[~fake].max() > np.median(raw[fake])
    assert left[fake].min() > left[~fake].max(), "all that is left is whether it is fake"


def test_an_expectation_sees_neither_fakes_nor_the_fold(videos: tuple[list[Sample], dict[str, Clues]]) -> None:
    data, known = videos
    fold = FOLDS[0]
    changed = {
        each.video.filename: Clues(known[each.video.filename].votes + 9, known[each.video.filename].textures)
        for each in data
        if each.video.fake or each.video.fold == fold
    }
    before, after = (Beyond(each).unseen(data) for each in (known, known | changed))
    own = np.array([each.video.fold == fold for each in data])
    np.testing.assert_allclose(after[own], before[own] + 9)


@pytest.mark.parametrize("reach", [1.0, 5.0])
def test_an_expectation_is_a_layer(videos: tuple[list[Sample], dict[str, Clues]], reach: float) -> None:
    """Beyond the textures that it was fitted to as well."""
    data, known = videos
    expected = Beyond(known).expectation(data)
    textures = np.concatenate([each.textures for each in known.values()]) * reach
    with torch.no_grad():
        found = expected.as_layer()(torch.from_numpy(textures).float())[:, 0]
    np.testing.assert_allclose(found.numpy(), expected(textures), rtol=1e-4, atol=1e-4)


def test_an_expectation_stands_still_beyond_what_it_was_fitted_to() -> None:
    textures = np.linspace(-1, 1, 41)[:, None]
    expected = Expectation.of(textures, 2 * textures[:, 0])
    inside, edge, beyond = expected(np.array([[0.5], [1.0], [9.0]]))
    assert inside == pytest.approx(1, rel=0.1)
    assert beyond == edge == pytest.approx(2, rel=0.1)


def test_clues_are_what_the_network_takes_together(clips: Any) -> None:
    torch.manual_seed(0)
    net = SteadyNet(ClipNet(LITE1), MesoNet()).eval()
    torch.nn.init.normal_(net.expected.weight, std=0.1)
    video = Labelled("a.mp4", False, "", "", FOLDS[0])
    known = VideoClips(clips.numpy(), np.zeros(2, np.int64), np.ones(2))
    with torch.no_grad():
        own = clues_of(net, [Sample(video, known, net.features(clips))])["a.mp4"]
        expected = net.expected(torch.from_numpy(own.textures).float())[:, 0]
        torch.testing.assert_close(torch.from_numpy(own.votes).float() - expected, net(clips), rtol=1e-4, atol=1e-4)


@pytest.fixture
def keras(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A file as Keras writes it, with weights by chance, and these by layer."""
    h5py = pytest.importorskip("h5py")
    rng, layers, inputs = np.random.default_rng(1), {}, 3
    for i, (outputs, side) in enumerate(zip(PUBLISHED, (3, 5, 5, 5), strict=True)):
        kernel = rng.normal(size=(side, side, inputs, outputs)) / side / inputs**0.5
        layers[f"conv2d_{i}"] = {"kernel": kernel, "bias": rng.normal(size=outputs)}
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        layers[f"batch_normalization_{i}"] = {name: rng.uniform(0.5, 1, outputs) for name in names}
        inputs = outputs
    layers["dense_0"] = {"kernel": rng.normal(size=(1024, 16)) / 32, "bias": rng.normal(size=16)}
    layers["dense_1"] = {"kernel": rng.normal(size=(16, 1)), "bias": rng.normal(size=1)}
    with h5py.File(tmp_path / "meso.h5", "w") as file:
        file.attrs["layer_names"] = [b"input_1", *(name.encode() for name in layers)]
        file.create_group("input_1")
        for name, arrays in layers.items():
            for key, values in arrays.items():
                file[f"{name}/{name}/{key}:0"] = values.astype(np.float32)
    return tmp_path / "meso.h5", layers


def test_the_teacher_is_read_from_keras(keras: tuple[Path, dict[str, Any]]) -> None:
    """Against the same layers with channels last, in float64."""
    path, layers = keras
    faces = noise(2)[..., :SIZE, :SIZE]
    x = faces.double().permute(0, 2, 3, 1) / 255
    for i, pool in enumerate((2, 2, 2, 4)):
        norm, conv = layers[f"batch_normalization_{i}"], layers[f"conv2d_{i}"]
        kernel = torch.from_numpy(conv["kernel"]).permute(3, 2, 0, 1)
        y = functional.conv2d(x.permute(0, 3, 1, 2), kernel, padding=kernel.shape[-1] // 2).permute(0, 2, 3, 1)
        y = (y + torch.from_numpy(conv["bias"])).relu().numpy()
        y = (y - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-3) * norm["gamma"] + norm["beta"]
        x = functional.max_pool2d(torch.from_numpy(y).permute(0, 3, 1, 2), pool).permute(0, 2, 3, 1)
    hidden = x.flatten(1).numpy() @ layers["dense_0"]["kernel"] + layers["dense_0"]["bias"]
    said = np.where(hidden > 0, hidden, 0.1 * hidden) @ layers["dense_1"]["kernel"] + layers["dense_1"]["bias"]
    with torch.no_grad():
        np.testing.assert_allclose(published(path)(faces).numpy(), -said[:, 0], rtol=1e-3, atol=1e-3)


def test_another_file_is_no_teacher(keras: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ModelError, match="no Meso4"):
        published(tmp_path / "text.h5")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"give what dfx\.torch\.train_mesonet writes"):
        MesoNet.load(tmp_path / "other.pt")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Tight and wide pictures, two held out, and a labelled video's."""
    folder = tmp_path / "shards"
    folder.mkdir()
    pictures = noise(8, seed=3).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    Shard(
        [jpeg(np.ascontiguousarray(picture[:224, :224]), 90) for picture in pictures],
        np.arange(8),
        np.zeros(8, np.bool_),
        np.arange(8) < 2,
        np.array([""] * 7 + ["DFDC"]),
        np.array([1, 1, 1, 1, 1.4, 1.4, 1.4, 1.4], np.float32),
        np.arange(8),
    ).write(folder / "shard_0.npz")
    return folder


def test_no_labelled_video_and_nothing_held_out_is_shown(shards: Path) -> None:
    stored, crops = Shard.read(shards / "shard_0.npz").jpegs, Crops.read(shards)
    assert (crops.tight, crops.wide, crops.measured) == (stored[2:4], stored[4:7], stored[:2])


def test_a_student_is_trained_and_goes_on(
    keras: tuple[Path, dict[str, Any]], shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfx.torch.train_mesonet.BATCH", 4)
    words = ["--shards", shards, "--teacher", keras[0], "--out", tmp_path / "out", "--every", "0"]
    done = CliRunner().invoke(train_mesonet, [*map(str, words), "--minutes", "0.05"], catch_exceptions=False)
    assert "of unseen pictures'" in done.output
    step = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["step"]
    assert step >= 1
    again = CliRunner().invoke(train_mesonet, [*map(str, words), "--minutes", "0"], catch_exceptions=False)
    assert f"step {step} " in again.output
    net = MesoNet.load(tmp_path / "out" / "mesonet.pt")
    assert net.vote.weight.shape == (1, 16)
    other = [*map(str, words), "--out", str(tmp_path / "other"), "--start", str(tmp_path / "out" / "mesonet.pt")]
    CliRunner().invoke(train_mesonet, [*other, "--minutes", "0"], catch_exceptions=False)
    begun = MesoNet.load(tmp_path / "other" / "mesonet.pt").state_dict()
    assert all(torch.equal(begun[name], weight) for name, weight in net.state_dict().items())


def test_one_line_says_which_switches_do_not_go_together(shards: Path, tmp_path: Path) -> None:
    torch.save(FrameNet(LITE1).state_dict(), tmp_path / "backbone.pt")
    words = [tmp_path / "backbone.pt", "--videos", shards, "--out", tmp_path, "--second", tmp_path / "backbone.pt"]
    done = CliRunner().invoke(train_classifier, [*map(str, words), "--one-view"])
    assert done.exit_code == 2
    assert "--second goes with views" in done.output
