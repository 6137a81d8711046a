// From what the caller asks for to what the loops need: everything that is worked out once a picture.
#pragma once

#include <vector>

#include "jobs.h"

namespace dfx {

// Letterbox of pictures of one shape to one canvas. Owns the tables that its jobs point to.
class LetterboxPlan {
public:
    LetterboxPlan(const Picture& shape, i32 width, i32 height);
    LetterboxJob job(const Picture& picture, u8* out) const;

private:
    struct Table {
        std::vector<i32> first;
        std::vector<i16> weights;
        i32 count;
        Taps taps() const { return {count, first.data(), weights.data()}; }
    };
    static Table table(i64 sample, i64 pixel, i32 size, i32 outputs);

    i32 width_, height_, inner_width_, inner_height_;
    Table across_[2], down_[2];
};

// Crops of one size. Owns the tables of the last job that it made, for one job at a time.
class CropPlan {
public:
    CropPlan(const Kernels& loops, i32 size) : loops_(loops), size_(size) {}
    // matrix: [2, 3], crop pixels -> picture pixels, finite.
    CropJob job(const Picture& picture, const float* matrix, u8* out);

private:
    struct Table {
        i32 side = 0;
        std::vector<i16> weights;
    };
    const i16* weights(Table& table, i32 side) const;
    Region region(const Plane& plane, const float* matrix, i32 sx, i32 sy, Table (&tables)[2]) const;

    const Kernels& loops_;
    i32 size_;
    Table luma_[2], chroma_[2];
};

// Bytes of scratch memory that a job needs.
i64 letterbox_scratch(const LetterboxJob& job);
i64 crop_scratch(const CropJob& job);

}  // namespace dfx
