#include "detections.h"

#include <algorithm>

namespace dfx {
namespace {

std::vector<Detection> candidates(const Detector& detector, const std::vector<Anchor>& anchors, const float* scores,
                                  const float* boxes, const float* landmarks) {
    std::vector<Detection> found;
    Face face;
    for (std::size_t i = 0; i < anchors.size(); ++i)
        if (scores[i] > detector.threshold &&
            decode_finite(anchors[i], boxes + 4 * i, landmarks + 2 * kLandmarks * i, detector.variances, face))
            found.push_back({scores[i], static_cast<i64>(i), face});
    return found;
}

bool better(const Detection& a, const Detection& b) {
    return a.score != b.score ? a.score > b.score : a.index < b.index;
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

std::vector<Detection> suppress(std::vector<Detection> found, double iou, i64 limit) {
    std::sort(found.begin(), found.end(), better);
    std::vector<Detection> kept;
    for (const Detection& candidate : found) {
        if (static_cast<i64>(kept.size()) == limit) break;
        const bool hidden = std::any_of(kept.begin(), kept.end(), [&](const Detection& other) {
            return overlap(other.face.box, candidate.face.box) > iou;
        });
        if (!hidden) kept.push_back(candidate);
    }
    return kept;
}

std::vector<Detection> detect(const Detector& detector, const std::vector<Anchor>& anchors, const float* scores,
                              const float* boxes, const float* landmarks) {
    return suppress(candidates(detector, anchors, scores, boxes, landmarks), detector.iou, detector.limit);
}

}  // namespace dfx
