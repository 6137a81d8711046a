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

// The factor that fits a picture into a canvas; small pictures are magnified no more than twice.
Fraction fit(const Plane& luma, i32 width, i32 height) {
    Fraction scale = {2, 1};
    const Fraction limits[2] = {{width, luma.width}, {height, luma.height}};
    for (const Fraction& limit : limits)
        if (limit.numerator * scale.denominator < scale.numerator * limit.denominator) scale = limit;
    const i64 divisor = std::gcd(scale.numerator, scale.denominator);
    return {scale.numerator / divisor, scale.denominator / divisor};
}

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

// One axis of a crop: where its pixels lie, the side of their boxes in phases, and the samples of the region.
struct Span {
    Line line;
    i32 side, first, count;
};

Span measure(const float* row, i32 reduced_by, i32 subsampling, i32 plane_size, i32 crop_size) {
    const double unit = static_cast<double>(reduced_by) * subsampling;
    const double across = row[0] / unit, down = row[1] / unit;
    const i32 side = static_cast<i32>(std::clamp(extent(row) / unit, 1.0, kLongestSide) * kPhases + 0.5);
    const double half = side / (2.0 * kPhases);
    const double samples = (plane_size + reduced_by - 1) / reduced_by;
    Line line = {across, down, row[2] / unit, -half, samples + half, 0};
    const i32 last = crop_size - 1;
    const double top = row_offset(line, 0), bottom = row_offset(line, last);
    const double corners[4] = {position(line, top, 0), position(line, top, last), position(line, bottom, 0),
                               position(line, bottom, last)};
    const auto [low, high] = std::minmax_element(corners, corners + 4);
    const double first = std::floor(*low - half);
    line.start = first + half;
    const i32 furthest = static_cast<i32>((*high - line.start) * kPhases + 0.5) >> kPhaseBits;
    return {line, side, static_cast<i32>(first), furthest + kTaps};
}

}  // namespace

LetterboxPlan::LetterboxPlan(const Picture& shape, i32 width, i32 height) : width_(width), height_(height) {
    const Plane &luma = shape.planes[0], &chroma = shape.planes[1];
    const Fraction scale = fit(luma, width, height);
    inner_width_ = scaled(luma.width, scale);
    inner_height_ = scaled(luma.height, scale);
    across_[0] = table(scale.numerator, scale.denominator, luma.width, inner_width_);
    down_[0] = table(scale.numerator, scale.denominator, luma.height, inner_height_);
    across_[1] = table(scale.numerator * shape.sx, scale.denominator, chroma.width, inner_width_);
    down_[1] = table(scale.numerator * shape.sy, scale.denominator, chroma.height, inner_height_);
}

LetterboxPlan::Table LetterboxPlan::table(i64 sample, i64 pixel, i32 size, i32 outputs) {
    const Axis axis = {sample, pixel, size};
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

LetterboxJob LetterboxPlan::job(const Picture& picture, u8* out) const {
    return {picture,
            {across_[0].taps(), across_[1].taps()},
            {down_[0].taps(), down_[1].taps()},
            bt601(picture.depth, picture.full_range),
            inner_width_,
            inner_height_,
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

const i16* CropPlan::weights(Table& table, i32 side) const {
    if (table.side == side) return table.weights.data();
    table.side = side;
    table.weights.resize((kPhases + 1) * kTaps);
    loops_.fill_weights(side, table.weights.data());
    return table.weights.data();
}

Region CropPlan::region(const Plane& plane, const float* matrix, i32 sx, i32 sy, Table (&tables)[2]) const {
    const i32 kx = reduction(extent(matrix) / sx, plane.width), ky = reduction(extent(matrix + 3) / sy, plane.height);
    const Span x = measure(matrix, kx, sx, plane.width, size_);
    const Span y = measure(matrix + 3, ky, sy, plane.height, size_);
    const i16* wx = weights(tables[0], x.side);
    const i16* wy = x.side == y.side ? wx : weights(tables[1], y.side);
    return {kx, ky, x.first, y.first, x.count, y.count, x.line, y.line, wx, wy};
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
