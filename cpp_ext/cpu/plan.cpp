#include "plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../ops/resample.h"
#include "boxes.h"
#include "vectors.h"

namespace dfx {
namespace {

struct Fraction {
    i64 numerator, denominator;
};

i32 scaled(i32 size, const Fraction& scale) {
    const i64 rounded = (2 * size * scale.numerator + scale.denominator) / (2 * scale.denominator);
    return static_cast<i32>(std::max<i64>(1, rounded));
}

// How many samples one axis is reduced by before the boxes, which span at most 3, are laid over it.
i32 reduction(double length, i32 size) {
    return static_cast<i32>(std::max(1.0, std::min<double>(std::ceil(length / kLongestSide), size)));
}

// What a crop pixel spans along one axis of the picture, whose row of the matrix is given: the side of the upright box
// with the same variance.
double extent(const float* row) {
    const double across = row[0], down = row[1];
    return std::sqrt(across * across + down * down);
}

}  // namespace

// Small pictures are magnified no more than twice.
Inner fit(i32 width, i32 height, i32 canvas_width, i32 canvas_height) {
    Fraction scale = {2, 1};
    const Fraction limits[2] = {{canvas_width, width}, {canvas_height, height}};
    for (const Fraction& limit : limits)
        if (limit.numerator * scale.denominator < scale.numerator * limit.denominator) scale = limit;
    const i64 divisor = std::gcd(scale.numerator, scale.denominator);
    return {scale.numerator / divisor, scale.denominator / divisor, scaled(width, scale), scaled(height, scale)};
}

Table table(const Inner& inner, i32 subsampling, i32 size, i32 outputs) {
    const Axis axis = {inner.numerator * subsampling, inner.denominator, size};
    i64 count = 1;
    for (i32 j = 0; j < outputs; ++j) count = std::max(count, reach(axis, j).last - reach(axis, j).first + 1);
    count = std::min<i64>(count, size);
    Table table = {std::vector<i32>(outputs), std::vector<i16>(outputs * count), static_cast<i32>(count)};
    for (i32 j = 0; j < outputs; ++j) {
        const Reach from = reach(axis, j);
        table.first[j] = static_cast<i32>(std::clamp<i64>(from.first, 0, size - count));
        for (i64 i = from.first; i <= from.last; ++i)
            table.weights[j * count + std::clamp<i64>(i, 0, size - 1) - table.first[j]] +=
                static_cast<i16>(weight(axis, j, i));
    }
    return table;
}

Span span(const float* row, i32 subsampling, i32 plane_size, i32 crop_size) {
    const i32 block = reduction(extent(row) / subsampling, plane_size);
    const double unit = static_cast<double>(block) * subsampling;
    const double across = row[0] / unit, down = row[1] / unit;
    const i32 side = static_cast<i32>(std::clamp(extent(row) / unit, 1.0, kLongestSide) * kPhases + 0.5);
    const double half = side / (2.0 * kPhases);
    const double samples = (plane_size + block - 1) / block;
    Line line = {across, down, row[2] / unit, -half, samples + half, 0};
    const i32 last = crop_size - 1;
    const double top = row_offset(line, 0), bottom = row_offset(line, last);
    const double corners[4] = {position(line, top, 0), position(line, top, last), position(line, bottom, 0),
                               position(line, bottom, last)};
    const auto [low, high] = std::minmax_element(corners, corners + 4);
    const double first = std::floor(*low - half);
    line.start = first + half;
    const i32 furthest = static_cast<i32>((*high - line.start) * kPhases + 0.5) >> kPhaseBits;
    return {line, side, block, static_cast<i32>(first), furthest + kTaps};
}

LetterboxPlan::LetterboxPlan(const Picture& shape, i32 width, i32 height)
    : width_(width), height_(height), inner_(fit(shape.planes[0].width, shape.planes[0].height, width, height)) {
    const Plane &luma = shape.planes[0], &chroma = shape.planes[1];
    across_[0] = table(inner_, 1, luma.width, inner_.width);
    down_[0] = table(inner_, 1, luma.height, inner_.height);
    across_[1] = table(inner_, shape.sx, chroma.width, inner_.width);
    down_[1] = table(inner_, shape.sy, chroma.height, inner_.height);
}

LetterboxJob LetterboxPlan::job(const Picture& picture, u8* out) const {
    return {picture,
            {across_[0].taps(), across_[1].taps()},
            {down_[0].taps(), down_[1].taps()},
            bt601(picture.depth, picture.full_range),
            inner_.width,
            inner_.height,
            width_,
            height_,
            out};
}

i64 letterbox_scratch(const LetterboxJob& job) {
    i64 widest = 0;
    for (const Plane& plane : job.picture.planes) widest = std::max<i64>(widest, plane.width);
    const i64 filtered = 9 * round_up(job.inner_width, kStrip) * kStrip;
    return filtered + 4 * kStrip * round_up(widest, 8) + 8 * kCacheLine;
}

const i16* CropPlan::weights(Weights& cached, i32 side) const {
    if (cached.side == side) return cached.values.data();
    cached.side = side;
    cached.values.resize((kPhases + 1) * kTaps);
    loops_.fill_weights(side, cached.values.data());
    return cached.values.data();
}

Region CropPlan::region(const Plane& plane, const float* matrix, i32 sx, i32 sy, Weights (&cached)[2]) const {
    const Span x = span(matrix, sx, plane.width, size_), y = span(matrix + 3, sy, plane.height, size_);
    const i16* wx = weights(cached[0], x.side);
    const i16* wy = x.side == y.side ? wx : weights(cached[1], y.side);
    return {x.block, y.block, x.first, y.first, x.count, y.count, x.line, y.line, wx, wy};
}

CropJob CropPlan::job(const Picture& picture, const float* matrix, u8* out) {
    return {picture,
            region(picture.planes[0], matrix, 1, 1, luma_),
            region(picture.planes[1], matrix, picture.sx, picture.sy, chroma_),
            bt601(picture.depth, picture.full_range),
            size_,
            out};
}

i64 crop_scratch(const CropJob& job) {
    const i64 luma = static_cast<i64>(job.luma.width) * job.luma.height;
    const i64 chroma = static_cast<i64>(job.chroma.width) * job.chroma.height;
    const i64 rows = 18 * round_up(job.size, kGroup) + 4 * job.chroma.width;
    return 2 * luma + 4 * chroma + rows + 2 * static_cast<i64>(job.picture.planes[0].width) + 12 * kCacheLine;
}

}  // namespace dfx
