"""The labelled videos as dfx's own pipeline cuts them: face clips, and folds that leave a family of generators out."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from dfx.aggregate import aggregate
from dfx.extract import save
from dfx.infer import Calibration
from dfx.infer.contract import contract_to_cut
from dfx.pipeline import Pipeline
from dfx.plan import plan
from dfx.probe import probe
from dfx.torch.clipnet import TIGHT, ClipNet, Cut, FrameNet
from dfx.torch.views import ViewedNet
from dfx.track import join
from dfx.values import ClipScore, Pixels, Track

WINDOWS = 4  # clips of a video and person; twice what prediction takes, since the videos are few
FAMILIES = {"DeepFaceLive": "DeepFaceLive", "DFDC": "DFDC", "FF++": "FF++ and like", "AniPortrait": "AniPortrait"}
REST = "others"
FOLDS = (*FAMILIES.values(), REST)
UNBOUNDED = (1e-9, 1 - 1e-9)  # range of probabilities, where a video's logit is wanted and no bound on what it costs


@dataclass(frozen=True, slots=True)
class Labelled:
    """A row of labels.csv.

    family: of generators; group: of videos that share people; fold: the family whose fold it is in, its people's other
    videos with it; scene: equal for a swap and its original, empty where there is none; source: the repository that it
    comes from; face_width: median width of its largest face, pixels of the video, NaN where unknown.
    """

    filename: str
    fake: bool
    family: str
    group: str
    fold: str
    scene: str = ""
    source: str = ""
    face_width: float = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class VideoClips:
    """A video's face clips: uint8 [K, T, 3, S, S]; person: int [K]; confidence: float [K], the detector's."""

    pixels: NDArray[np.uint8]
    person: NDArray[np.int64]
    confidence: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.person)

    @property
    def main(self) -> NDArray[np.bool_]:
        """bool [K]: the clips of the person who is seen most; a fake video may show real people beside the fake one."""
        return np.asarray(self.person == np.bincount(self.person).argmax())

    def video_logit(self, logits: Sequence[float]) -> float:
        """The video's logit before calibration, from its clips' logits [K], as `dfx.aggregate` takes them together."""
        nowhere = (0.0, 0.0, 0.0, 0.0)
        people, weights = self.person.tolist(), self.confidence.tolist()
        rows = zip(people, weights, logits, strict=True)
        clips = [ClipScore(person, 0.0, 0.0, nowhere, weight, logit) for person, weight, logit in rows]
        probability = aggregate(clips, Calibration(), UNBOUNDED)
        return float(np.log(probability / (1 - probability)))


def read_labels(folder: Path) -> list[Labelled]:
    """Reads labels.csv; deals the folds."""
    with (folder / "labels.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    folds = _folds(rows)
    return [
        Labelled(
            filename=row["filename"],
            fake=row["label"] == "FAKE",
            family=_family(row["generator"]),
            group=row["identity_group"],
            fold=folds[row["identity_group"]],
            scene=scene,
            source=row.get("source_repo", ""),
            face_width=float(row.get("face_width_px") or "nan"),
        )
        for row, scene in zip(rows, _scenes(rows), strict=True)
    ]


def _folds(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """The fold of each group of people: of the family that made most of its fakes, so that an original is on its swap's
    side and nobody is on both. People who are in no fake are dealt to the folds in turn."""
    made: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        made[row["identity_group"]].update([_family(row["generator"])] if row["label"] == "FAKE" else [])
    untouched = sorted(group for group, families in made.items() if not families)
    folds = {group: FOLDS[i % len(FOLDS)] for i, group in enumerate(untouched)}
    return folds | {group: families.most_common(1)[0][0] for group, families in made.items() if families}


def _scenes(rows: Sequence[dict[str, str]]) -> list[str]:
    """What a swap and its original have in common: their source, or a group of people with just the two of them."""
    for key in ("source_path", "identity_group"):
        labels: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            labels[row[key]].append(row["label"])
        for row in rows:
            if sorted(labels[row[key]]) == ["FAKE", "REAL"]:
                row.setdefault("scene", row[key])
    return [row.get("scene", "") for row in rows]


def _family(generator: str) -> str:
    return next((family for key, family in FAMILIES.items() if key in generator), REST)


def clips_of(pipeline: Pipeline, path: Path, way: Cut, windows: int) -> list[tuple[Track, Pixels]]:
    """The face clips of a video, uint8 [T, 3, S, S], in so many windows at most, cut in one way."""
    chosen = plan(probe(path), windows=windows, count=way.length, stride=way.stride)
    return pipeline.clips(path, chosen, contract_to_cut(**way.contract))


def cut(folder: Path, videos: Iterable[Labelled], cache: Path, way: Cut = TIGHT) -> dict[str, VideoClips]:
    """The clips of every video that shows a face, by file name; cut once, then read from `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline()
    found = {}
    for video in tqdm(list(videos), "cutting clips"):
        stored = cache / f"{video.filename}.npz"
        if not stored.exists():
            _store(clips_of(pipeline, folder / video.filename, way, WINDOWS), stored)
        with np.load(stored) as arrays:
            clips = VideoClips(**arrays)
        if len(clips):
            found[video.filename] = clips
    return found


def _store(pairs: Sequence[tuple[Track, Pixels]], stored: Path) -> None:
    """Writes the clips' file whole or not at all: what is there already is not cut again."""
    tracks, file = [track for track, _ in pairs], io.BytesIO()
    np.savez(
        file,
        pixels=np.stack([clip for _, clip in pairs]) if pairs else np.zeros((0, 1, 1, 1, 1), np.uint8),
        person=np.array(join(tracks), np.int64),
        confidence=np.array([track.scores.mean() for track in tracks], np.float64),
    )
    save(stored, file.getvalue())


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A labelled video and the backbone's features of its clips' frames: float [K, T, F]."""

    video: Labelled
    clips: VideoClips
    features: Tensor


def samples(
    folder: Path, weights: Path, out: Path, *, fold: str | None = None, views: bool = False, mirrored: bool = False
) -> list[Sample]:
    """The labelled videos under `folder` that show a face, seen by the FrameNet in `weights`; clips and features are
    cached under `out`.

    fold: the only one that is looked at; views: every frame in one of its own; mirrored: the features are of the crops'
    mirror images.
    """
    videos = [video for video in read_labels(folder) if fold in (None, video.fold)]
    plain = ClipNet.from_frames(FrameNet.load(weights)).eval()
    net = ViewedNet(plain) if views else plain
    clips = cut(folder, videos, out / f"clips-{net.cut.size}", net.cut)
    kind = f"{'viewed-' * views}{'mirrored-' * mirrored}features"
    seen = hashlib.sha256(weights.read_bytes() + (fold or "").encode())
    cache = out / f"{kind}-{seen.hexdigest()[:12]}.pt"
    if not cache.exists():
        names = tqdm(clips, "computing features")
        step = -1 if mirrored else 1
        pixels = ((name, clips[name].pixels[..., ::step]) for name in names)
        file = io.BytesIO()
        torch.save({name: features_of(net, own) for name, own in pixels}, file)
        save(cache, file.getvalue())
    features = torch.load(cache, weights_only=True)
    return [
        Sample(video, clips[video.filename], features[video.filename]) for video in videos if video.filename in clips
    ]


@torch.no_grad()
def features_of(net: ClipNet | ViewedNet, clips: NDArray[np.uint8]) -> Tensor:
    """The backbone's features of every frame: uint8 [K, T, 3, S, S] -> float [K, T, F]."""
    return torch.cat([net.features(torch.from_numpy(np.ascontiguousarray(clip))[None]) for clip in clips])
