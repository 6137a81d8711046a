"""What the networks say of real faces of some texture, fitted to real videos alone, so that it can be taken off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from dfx.infer import Calibration
from dfx.torch.clip_data import Sample
from dfx.torch.folds import Float, calibrate, labels, left_out, probabilities_of
from dfx.torch.steady import Expected, SteadyNet

RIDGE = 3.0  # weight decay, beside some 75 videos


@dataclass(frozen=True, slots=True, eq=False)
class Clues:
    """Of a video's clips: the networks' votes float [K], nothing taken off, and their textures float [K, F]."""

    votes: Float
    textures: Float


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """A linear function of textures, which stands still beyond `lowest` and `highest` (float [F] each)."""

    lowest: Float
    highest: Float
    line: Pipeline

    @classmethod
    def of(cls, textures: Float, votes: Float) -> Expectation:
        """By ridge regression (Hoerl and Kennard, 1970) of votes float [N] on textures float [N, F]."""
        line = make_pipeline(StandardScaler(), Ridge(RIDGE)).fit(textures, votes)
        return cls(textures.min(axis=0), textures.max(axis=0), line)

    def __call__(self, textures: Float) -> Float:
        """What is to be expected: float [N, F] -> float [N]."""
        return np.asarray(self.line.predict(np.clip(textures, self.lowest, self.highest)))

    def as_layer(self) -> Expected:
        """The same function as a layer of a network."""
        scaler, ridge = self.line.named_steps["standardscaler"], self.line.named_steps["ridge"]
        weight = ridge.coef_ / scaler.scale_
        state = {
            "weight": weight[None],
            "bias": np.array([ridge.intercept_ - weight @ scaler.mean_]),
            "lowest": self.lowest,
            "highest": self.highest,
        }
        layer = Expected(len(weight))
        layer.load_state_dict({name: torch.from_numpy(values).float() for name, values in state.items()})
        return layer


@torch.no_grad()
def clues_of(net: SteadyNet, data: Sequence[Sample]) -> dict[str, Clues]:
    """By file name. The samples' features must be of the network's views."""
    found = {}
    for sample in tqdm(data, "looking at textures"):
        clips = torch.from_numpy(sample.clips.pixels)
        votes = net.head(sample.features) + net.opinion(clips)
        found[sample.video.filename] = Clues(votes.double().numpy(), net.textures(clips).double().numpy())
    return found


@dataclass(frozen=True, slots=True)
class Beyond:
    """Scores by what the networks say beyond what is expected: a method, once its videos' clues are known.

    calibrated: how its logits become probabilities.
    """

    clues: Mapping[str, Clues]
    calibrated: Callable[[Float, NDArray[np.bool_]], Calibration] = calibrate

    def __call__(self, train: Sequence[Sample], test: Sequence[Sample]) -> Float:
        """Probabilities float [N] of test videos, by a calibration and an expectation of the training videos."""
        return probabilities_of(self.logits(train, test), self.calibrated(self.unseen(train), labels(train)))

    def unseen(self, data: Sequence[Sample]) -> Float:
        """Every video's logit, less an expectation that was fitted without its fold: float [N]."""
        return left_out(self.logits, data)

    def logits(self, train: Sequence[Sample], test: Sequence[Sample]) -> Float:
        """The test videos' logits, less what the training videos let expect: float [N]."""
        expected = self.expectation(train)
        return np.array([self._logit(sample, expected) for sample in test])

    def _logit(self, sample: Sample, expected: Expectation) -> float:
        clues = self.clues[sample.video.filename]
        return sample.clips.video_logit((clues.votes - expected(clues.textures)).tolist())

    def expectation(self, data: Sequence[Sample]) -> Expectation:
        """The votes as a function of the textures, over the real videos' most seen people."""
        return Expectation.of(*self._means([sample for sample in data if not sample.video.fake]))

    def explained(self, data: Sequence[Sample]) -> float:
        """The share of the variance among real videos' votes that an expectation without their fold explains."""
        real = [sample for sample in data if not sample.video.fake]

        def missed(train: Sequence[Sample], test: Sequence[Sample]) -> Float:
            textures, votes = self._means(test)
            return votes - self.expectation(train)(textures)

        return float(1 - np.square(left_out(missed, real)).mean() / self._means(real)[1].var())

    def _means(self, data: Sequence[Sample]) -> tuple[Float, Float]:
        """Over each video's clips of the person who is seen most: textures float [N, F], votes float [N]."""
        both = [(self.clues[sample.video.filename], sample.clips.main) for sample in data]
        textures = [clues.textures[main].mean(axis=0) for clues, main in both]
        return np.stack(textures), np.array([clues.votes[main].mean() for clues, main in both])
