// From what the caller asks for to launches of the kernels: on a stream of a GPU, or as loops on the CPU in its place.
#pragma once

#include <vector>

#include "../cpu/plan.h"
#include "../ops/picture.h"
#include "../ops/select.h"
#include "../ops/unmix.h"
#include "driver.h"

namespace dfx {

// A GPU's stream; where there is none, this many threads of the CPU.
struct Where {
    const Stream* stream;
    int threads;
};

// A stored picture, in the memory of where the work is done. Its channels are the red, green and blue of pixels that lie
// side by side, or planes whose chroma samples cover 2 x 2 of luma.
struct Stored {
    Address channels[kChannels];  // the first sample of each
    i32 width, height;
    i64 stride;  // bytes from row to row, of planes that of luma
    i32 rotation;
    bool planar, full_range;
};

// What pixels of the output are.
enum class Pixel { byte, half, tally };

// Letterbox of pictures of one (upright) size to one canvas: the taps of both axes, for pixels and for chroma, in one
// piece of memory that can be copied to a GPU.
class SurfacePlan {
public:
    SurfacePlan(i32 width, i32 height, i32 canvas_width, i32 canvas_height);
    const std::vector<u8>& memory() const { return memory_; }
    // `memory` is where the kernels find a copy of it.
    LetterboxPicture picture(const Stored& stored, Address memory) const;

private:
    // One axis: where its table begins in the memory, and how many taps an output pixel has.
    struct Part {
        i64 offset;
        i32 outputs, count;
    };
    Part append(i32 subsampling, i32 size, i32 outputs);
    static Taps taps(const Part& part, Address memory);

    Inner inner_;
    Part across_[2], down_[2];
    std::vector<u8> memory_;
};

// [N, 3, height, width] at `out`; plans and memories: one a picture.
void letterbox_surfaces(const std::vector<Stored>& pictures, const std::vector<const SurfacePlan*>& plans,
                        const std::vector<Address>& memories, Address out, i32 height, i32 width, Pixel pixel,
                        Where where);

// [N, 3, size, size] at `out`; matrices: [N, 2, 3] on the host, crop pixels to pixels of the upright picture.
void crop_surfaces(const std::vector<Stored>& pictures, const float* matrices, Address out, i32 size, Pixel pixel,
                   Where where);

void select_faces(const SelectLaunch& launch, Where where);

// `launch.count` may be any number; `launch.means` has room for kUnmixBatch pictures, or for all where they are fewer.
void unmix(UnmixLaunch launch, Where where);

}  // namespace dfx
