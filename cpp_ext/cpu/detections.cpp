#include "detections.h"

#include <algorithm>
#include <cmath>

namespace dfx {
namespace {

bool finite(const float* values, i32 count) {
    return std::all_of(values, values + count, [](float x) { return std::isfinite(x); });
}

std::vector<Detection> candidates(const Detector& detector, const std::vector<Anchor>& anchors, const float* scores,
                                  const float* boxes, const float* landmarks) {
    std::vector<Detection> found;
    for (std::size_t i = 0; i < anchors.size(); ++i) {
        if (!(scores[i] > detector.threshold)) continue;
        const float *box = boxes + 4 * i, *points = landmarks + 2 * kLandmarks * i;
        if (!finite(box, 4) || !finite(points, 2 * kLandmarks)) continue;
        const Face face = decode_face(anchors[i], box, points, detector.variances);
        if (!finite(face.box, 4) || !finite(face.landmarks, 2 * kLandmarks)) continue;
        found.push_back({scores[i], static_cast<i64>(i), face});
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
    return found;
}

}  // namespace

std::vector<Anchor> anchors(const std::vector<Level>& levels, i32 width, i32 height) {
    std::vector<Anchor> all;
    for (const Level& level : levels)
        for (i32 row = 0; row < height / level.stride; ++row)
            for (i32 column = 0; column < width / level.stride; ++column)
                for (double side : level.sides)
                    all.push_back({(column + 0.5) * level.stride, (row + 0.5) * level.stride, side});
    return all;
}

std::vector<Detection> detect(const Detector& detector, const std::vector<Anchor>& anchors, const float* scores,
                              const float* boxes, const float* landmarks) {
    std::vector<Detection> kept;
    for (const Detection& candidate : candidates(detector, anchors, scores, boxes, landmarks)) {
        if (static_cast<i64>(kept.size()) == detector.limit) break;
        const bool hidden = std::any_of(kept.begin(), kept.end(), [&](const Detection& better) {
            return overlap(better.face.box, candidate.face.box) > detector.iou;
        });
        if (!hidden) kept.push_back(candidate);
    }
    return kept;
}

}  // namespace dfx
