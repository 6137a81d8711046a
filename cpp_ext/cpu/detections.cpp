#include "detections.h"

#include <algorithm>

namespace dfx {
namespace {

std::vector<Detection> candidates(const Detector& detector, const std::vector<Anchor>& anchors, const float* scores,
                                  const float* boxes, const float* landmarks) {
    const float floor = floor_of(detector.wanted);
    std::vector<Detection> found;
    Face face;
    for (std::size_t i = 0; i < anchors.size(); ++i)
        if (scores[i] > floor &&
            decode_finite(anchors[i], boxes + 4 * i, landmarks + 2 * kLandmarks * i, detector.variances, face))
            found.push_back({scores[i], static_cast<i64>(i), face});
    return found;
}

bool better(const Detection& a, const Detection& b) {
    return a.score != b.score ? a.score > b.score : a.index < b.index;
}

void add(const float* values, i32 count, double weight, double* sums) {
    for (i32 i = 0; i < count; ++i) sums[i] += weight * values[i];
}

void divide(const double* sums, i32 count, double weight, float* values) {
    for (i32 i = 0; i < count; ++i) values[i] = static_cast<float>(sums[i] / weight);
}

// The first of those that are left, as all anchors that see the same face have it, the surer ones far more than others.
Detection voted(const std::vector<Detection>& left, i64 votes) {
    double box[4] = {}, landmarks[2 * kLandmarks] = {}, weights = 0, scores = 0;
    i64 heard = 0;
    for (const Detection& other : left) {
        if (&other != &left.front() && overlap(left.front().face.box, other.face.box) <= kSameFace) continue;
        if (heard++ < votes) scores += other.score;
        const double square = static_cast<double>(other.score) * other.score, weight = square * square;
        add(other.face.box, 4, weight, box);
        add(other.face.landmarks, 2 * kLandmarks, weight, landmarks);
        weights += weight;
    }
    Detection face = {static_cast<float>(scores / static_cast<double>(votes)), left.front().index, {}};
    divide(box, 4, weights, face.face.box);
    divide(landmarks, 2 * kLandmarks, weights, face.face.landmarks);
    return face;
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

float floor_of(const Wanted& wanted) {
    return wanted.votes > 1 ? std::min(wanted.threshold, kHeard) : wanted.threshold;
}

std::vector<Detection> suppress(std::vector<Detection> left, const Wanted& wanted) {
    std::sort(left.begin(), left.end(), better);
    std::vector<Detection> kept;
    while (!left.empty() && left.front().score > wanted.threshold) {  // no mean is above the best
        const Detection best = left.front(), face = voted(left, wanted.votes);
        if (face.score > wanted.threshold) kept.push_back(face);
        const auto hidden = [&](const Detection& other) { return overlap(best.face.box, other.face.box) > wanted.iou; };
        left.erase(std::remove_if(left.begin() + 1, left.end(), hidden), left.end());
        left.erase(left.begin());
    }
    std::stable_sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
    kept.resize(std::min(kept.size(), static_cast<std::size_t>(wanted.limit)));
    return kept;
}

std::vector<Detection> detect(const Detector& detector, const std::vector<Anchor>& anchors, const float* scores,
                              const float* boxes, const float* landmarks) {
    return suppress(candidates(detector, anchors, scores, boxes, landmarks), detector.wanted);
}

}  // namespace dfx
