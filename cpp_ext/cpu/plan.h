// From what the caller asks for to what the loops need: everything that is worked out once a picture.
#pragma once

#include <vector>

#include "jobs.h"

namespace dfx {

// The taps of one axis: for each output pixel its first sample, and `count` weights.
struct Table {
    std::vector<i32> first;
    std::vector<i16> weights;
    i32 count;
    Taps taps() const { return {count, first.data(), weights.data()}; }
};

// Where a picture lies in a canvas: its scale is numerator / denominator.
struct Inner {
    i64 numerator, denominator;
    i32 width, height;
};

Inner fit(i32 width, i32 height, i32 canvas_width, i32 canvas_height);

// The taps of a plane of `size` samples, each of which covers `subsampling` picture pixels.
Table table(const Inner& inner, i32 subsampling, i32 size, i32 outputs);

// One axis of a crop: where its pixels lie, the side of their boxes in phases, and the samples of the region; samples
// are blocks of `block` samples of the plane.
struct Span {
    Line line;
    i32 side, block, first, count;
};

// `row` is a row of the matrix from crop pixels to picture pixels, of which a sample covers `subsampling`.
Span span(const float* row, i32 subsampling, i32 plane_size, i32 crop_size);

// Letterbox of pictures of one shape to one canvas. Owns the tables that its jobs point to.
class LetterboxPlan {
public:
    LetterboxPlan(const Picture& shape, i32 width, i32 height);
    LetterboxJob job(const Picture& picture, u8* out) const;

private:
    i32 width_, height_;
    Inner inner_;
    Table across_[2], down_[2];
};

// Crops of one size. Owns the tables of the last job that it made, for one job at a time.
class CropPlan {
public:
    CropPlan(const Kernels& loops, i32 size) : loops_(loops), size_(size) {}
    // matrix: [2, 3], crop pixels -> picture pixels, finite.
    CropJob job(const Picture& picture, const float* matrix, u8* out);

private:
    struct Weights {
        i32 side = 0;
        std::vector<i16> values;
    };
    const i16* weights(Weights& cached, i32 side) const;
    Region region(const Plane& plane, const float* matrix, i32 sx, i32 sy, Weights (&cached)[2]) const;

    const Kernels& loops_;
    i32 size_;
    Weights luma_[2], chroma_[2];
};

// Bytes of scratch memory that a job needs.
i64 letterbox_scratch(const LetterboxJob& job);
i64 crop_scratch(const CropJob& job);

}  // namespace dfx
