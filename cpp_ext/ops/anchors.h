// Decoding of an SSD detector's output (Liu et al., ECCV 2016), with five landmarks as RetinaFace has them (Deng et
// al., CVPR 2020).
#pragma once

#include "common.h"

namespace dfx {

constexpr i32 kLandmarks = 5;

struct Anchor {
    double x, y, side;  // centre and side of a square, pixels of the canvas
};

struct Face {
    float box[4];  // xyxy
    float landmarks[2 * kLandmarks];
};

// Deltas of sizes are bounded, so that no network can make an endless box: e^4.2 is 67 times the anchor.
constexpr double kLargestDelta = 4.2;

inline namespace DFX_LEVEL {

// e^x for |x| <= 64, to about one unit in the last place. The C library's differs in its last bit from one processor
// to the next, and scores must not.
DFX_HD double exponential(double x) {
    constexpr double ln2 = 0.693147180559945309417;
    const i32 power = static_cast<i32>(x / ln2 + (x < 0 ? -0.5 : 0.5));
    const double rest = x - power * ln2;
    double sum = 1;
    for (i32 term = 13; term > 0; --term) sum = 1 + sum * rest / term;
    double scale = 1;
    for (i32 i = 0; i < (power < 0 ? -power : power); ++i) scale *= 2;
    return power < 0 ? sum / scale : sum * scale;
}

DFX_HD double growth(double delta) { return exponential(clamp(delta, -kLargestDelta, kLargestDelta)); }

DFX_HD Face decode_face(const Anchor& anchor, const float* box, const float* points, const double* variances) {
    const double reach = variances[0] * anchor.side;
    const double x = anchor.x + box[0] * reach;
    const double y = anchor.y + box[1] * reach;
    const double half_width = anchor.side / 2 * growth(box[2] * variances[1]);
    const double half_height = anchor.side / 2 * growth(box[3] * variances[1]);
    Face face = {{static_cast<float>(x - half_width), static_cast<float>(y - half_height),
                  static_cast<float>(x + half_width), static_cast<float>(y + half_height)},
                 {}};
    for (i32 i = 0; i < kLandmarks; ++i) {
        face.landmarks[2 * i] = static_cast<float>(anchor.x + points[2 * i] * reach);
        face.landmarks[2 * i + 1] = static_cast<float>(anchor.y + points[2 * i + 1] * reach);
    }
    return face;
}

DFX_HD bool finite(const float* values, i32 count) {
    bool all = true;
    for (i32 i = 0; i < count; ++i) all = all && values[i] - values[i] == 0;
    return all;
}

// The face of an anchor; false where something is not a finite number, which is no face.
DFX_HD bool decode_finite(const Anchor& anchor, const float* box, const float* points, const double* variances,
                          Face& face) {
    if (!finite(box, 4) || !finite(points, 2 * kLandmarks)) return false;
    face = decode_face(anchor, box, points, variances);
    return finite(face.box, 4) && finite(face.landmarks, 2 * kLandmarks);
}

// Intersection over union of two boxes xyxy.
DFX_HD double overlap(const float* a, const float* b) {
    const double width = static_cast<double>(least(a[2], b[2])) - greatest(a[0], b[0]);
    const double height = static_cast<double>(least(a[3], b[3])) - greatest(a[1], b[1]);
    if (width <= 0 || height <= 0) return 0;
    const double area_a = (static_cast<double>(a[2]) - a[0]) * (static_cast<double>(a[3]) - a[1]);
    const double area_b = (static_cast<double>(b[2]) - b[0]) * (static_cast<double>(b[3]) - b[1]);
    return width * height / (area_a + area_b - width * height);
}

}  // namespace DFX_LEVEL
}  // namespace dfx
