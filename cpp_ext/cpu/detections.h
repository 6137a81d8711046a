// From a detector's output to the faces of one picture.
#pragma once

#include <vector>

#include "../ops/anchors.h"

namespace dfx {

// Anchors stand by level, then by row and column of its cells, then by size.
struct Level {
    i32 stride;
    std::vector<double> sides;
};

// What is asked of the faces of a picture: a score above `threshold`, at most `limit` of them, and none that overlaps a
// better one by more than `iou`. votes: anchors whose mean is a face's score.
struct Wanted {
    float threshold;
    double iou;
    i64 limit, votes;
};

struct Detector {
    std::vector<Level> levels;
    double variances[2];
    Wanted wanted;
};

struct Detection {
    float score;
    i64 index;
    Face face;
};

// Anchors of a canvas of that size, in order.
std::vector<Anchor> anchors(const std::vector<Level>& levels, i32 width, i32 height);

// Anchors whose boxes overlap by more than this see the same face.
constexpr double kSameFace = 0.5;

// Anchors of this score are heard where several vote on a face's score, whatever the threshold.
constexpr float kHeard = 0.1f;

// The score that an anchor must be above, to be given to `suppress`.
float floor_of(const Wanted& wanted);

// The best first (where scores are equal, that with the better anchor, or with the lower index). The order of what is
// given does not matter. A face's score is the mean of the `votes` best anchors that see it, of which those that are not
// there count 0. Boxes and landmarks are means over the anchors that see the same face and were not suppressed before,
// weighted by the fourth power of their scores (after the box voting of Gidaris and Komodakis, ICCV 2015): neighbouring
// anchors are nearly as sure as the best, which of them it is changes with a grey level, and they differ by several
// pixels.
std::vector<Detection> suppress(std::vector<Detection> found, const Wanted& wanted);

// The faces of a picture. scores: [A], boxes: [A, 4], landmarks: [A, 10]; what is not finite is no
// face.
std::vector<Detection> detect(const Detector& detector, const std::vector<Anchor>& anchors, const float* scores,
                              const float* boxes, const float* landmarks);

}  // namespace dfx
