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

struct Detector {
    std::vector<Level> levels;
    double variances[2];
    float threshold;
    double iou;
    i64 limit;
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

// The best first (the lower index where scores are equal), less what overlaps a better one by more than `iou`; `limit`
// at most. The order of what is given does not matter. Boxes and landmarks are means over the anchors that see the same
// face and were not suppressed before, weighted by the fourth power of their scores (after the box voting of Gidaris and
// Komodakis, ICCV 2015): neighbouring anchors are nearly as sure as the best, which of them it is changes with a grey
// level, and they differ by several pixels.
std::vector<Detection> suppress(std::vector<Detection> found, double iou, i64 limit);

// What scores above the threshold, suppressed. scores: [A], boxes: [A, 4], landmarks: [A, 10]; what is not finite is no
// face.
std::vector<Detection> detect(const Detector& detector, const std::vector<Anchor>& anchors, const float* scores,
                              const float* boxes, const float* landmarks);

}  // namespace dfx
