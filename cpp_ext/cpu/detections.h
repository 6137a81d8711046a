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

// The best first (the lower index where scores are equal), less what overlaps a better one by more than `iou`; `limit`
// at most. The order of what is given does not matter.
std::vector<Detection> suppress(std::vector<Detection> found, double iou, i64 limit);

// What scores above the threshold, suppressed. scores: [A], boxes: [A, 4], landmarks: [A, 10]; what is not finite is no
// face.
std::vector<Detection> detect(const Detector& detector, const std::vector<Anchor>& anchors, const float* scores,
                              const float* boxes, const float* landmarks);

}  // namespace dfx
