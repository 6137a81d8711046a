"""dfx beside the pipeline of the challenge's public notebooks, on the same ten-second 1080p clips, in turns.

Example:
    python benchmarks/notebook.py --json benchmarks/results/notebook.json

The notebooks' way: OpenCV goes through every frame of a video and keeps 17 evenly spaced ones (grab and retrieve, so
that only these are converted), a detector in torch looks at them one at a time, and a ResNeXt-50 of 32x4d scores the
17 faces at 224 x 224 in one batch; torch and OpenCV may use every core. The detector is dfx's own network, so that the
ways differ and not the networks. Its weights and the classifier's are random, which costs the same time as any; a
random detector finds no sure face, so its best box is taken, and the scores mean nothing.

Each run is a process of its own and its start-up counts for both.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from figures import json_option, publish
from supervision import DFX, timed
from torch import Tensor, nn
from tqdm import tqdm
from whole_job import linked

from dfx.torch.retinaface import RetinaFace, anchors

OPTIONS = ["--device", "cpu", "--fresh", "--quiet", "--follow-symlinks"]
LOOKS = 17
SIDE = 224
DETECTOR_SIDE = 640  # the longer side that dfx's detector is made for
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAGES = ((3, 128, 256), (4, 256, 512), (6, 512, 1024), (3, 1024, 2048))
"""Blocks, channels inside a block, channels behind it."""


@click.command()
@click.argument("videos", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--copies", default=16, show_default=True, help="Times that each video is scored in a run.")
@click.option("--runs", default=3, show_default=True)
@json_option
@click.option("--alone", type=click.Path(path_type=Path), hidden=True, help="Score the videos the notebooks' way.")
def main(videos: tuple[Path, ...], copies: int, runs: int, out: Path | None, alone: Path | None) -> None:
    """Print seconds a video of both, and the ratio of their medians."""
    if alone is not None:
        alone.write_text(json.dumps(dict(notebook(videos))))
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        links = linked(videos, copies, work)
        ours = [*DFX, "predict", str(work / "in"), "--out", str(work / "dfx.csv"), *OPTIONS]
        theirs = [sys.executable, str(Path(__file__).resolve()), *map(str, links), "--alone", str(work / "rows.json")]
        pairs = []
        for _ in tqdm(range(runs), "pairs of runs"):
            pairs.append((timed(ours, work), timed(theirs, work)))
            tqdm.write("{:.1f} s, beside {:.1f} s".format(*pairs[-1]), file=sys.stderr)
        assert len((work / "dfx.csv").read_text().splitlines()) == len(links) + 1, "dfx: a row a video, and a header"
        assert len(json.loads((work / "rows.json").read_text())) == len(links), "the notebook: a row a video"
    publish(compared(pairs, len(links)) | {"load": round(load, 1)}, out)


def compared(pairs: list[tuple[float, float]], videos: int) -> dict[str, object]:
    """pairs: wall seconds of a run of dfx and of the one beside it."""
    ours, theirs = (statistics.median(pair[side] for pair in pairs) / videos for side in (0, 1))
    return {
        "videos": videos,
        "dfx_seconds_a_video": round(ours, 4),
        "notebook_seconds_a_video": round(theirs, 4),
        "ratio": round(theirs / ours, 2),
        "ratios": [round(pair[1] / pair[0], 2) for pair in pairs],
        "opencv": cv2.__version__,
        "torch": torch.__version__,
    }


def notebook(videos: tuple[Path, ...]) -> Iterator[tuple[str, float]]:
    """Each video's name and probability."""
    torch.manual_seed(0)
    detector, classifier = RetinaFace().eval(), ResNeXt().eval()
    with torch.no_grad():
        for path in videos:
            faces = [face(detector, frame) for frame in evenly_spaced(path, LOOKS)]
            batch = torch.stack([_normalised(one) for one in faces])
            yield path.name, float(torch.sigmoid(classifier(batch)).mean())


def evenly_spaced(path: Path, count: int) -> list[np.ndarray]:
    """RGB frames as the notebooks' VideoReader reads them: every frame is decoded, the wanted ones are converted."""
    video = cv2.VideoCapture(str(path))
    wanted = np.linspace(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)) - 1, count, dtype=int).tolist()
    frames = []
    for index in range(wanted[-1] + 1):
        if not video.grab():
            break
        if index in wanted:
            frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
    video.release()
    return frames


def face(detector: RetinaFace, frame: np.ndarray) -> np.ndarray:
    """The square around the best box, RGB uint8 [SIDE, SIDE, 3], cut from the full frame."""
    scale = DETECTOR_SIDE / max(frame.shape[:2])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((*(-(-side // 32) * 32 for side in small.shape[:2]), 3), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    scores, _, _ = detector(torch.from_numpy(canvas).permute(2, 0, 1)[None])
    x, y, side = (anchors(*canvas.shape[:2])[int(scores[0].argmax())] / scale).tolist()
    left, top = max(0, int(x - side / 2)), max(0, int(y - side / 2))
    part = frame[top : top + max(32, int(side)), left : left + max(32, int(side))]
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def _normalised(picture: np.ndarray) -> Tensor:
    scaled = (picture.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(SPREAD, np.float32)
    return torch.from_numpy(scaled).permute(2, 0, 1)


class Block(nn.Module):
    """A bottleneck of 32 groups (Xie et al., Aggregated Residual Transformations, CVPR 2017)."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_conv(inputs, inner, 1),
            nn.ReLU(inplace=True),
            *_conv(inner, inner, 3, stride, groups=32),
            nn.ReLU(inplace=True),
            *_conv(inner, outputs, 1),
        )
        self.short = nn.Sequential(*_conv(inputs, outputs, 1, stride)) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """float [N, C, H, W] -> [N, C', H / stride, W / stride]."""
        return torch.relu(self.layers(x) + self.short(x))


class ResNeXt(nn.Module):
    """ResNeXt-50 32x4d with one logit: 23 million parameters, 4.2 billion multiply-adds a face of 224 x 224."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        blocks, inputs = [], 64
        for number, (count, inner, outputs) in enumerate(STAGES):
            for i in range(count):
                blocks.append(Block(inputs, inner, outputs, 2 if number and not i else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, 3, 224, 224] -> logits [N]."""
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3))).squeeze(1)  # type: ignore[no-any-return]


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


if __name__ == "__main__":
    main()
