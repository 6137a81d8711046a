// From what the caller asks for to launches of the kernels: on a stream of a GPU, or as loops on the CPU in its place.
#pragma once

#include <vector>

#include "../cpu/plan.h"
#include "../ops/rgb.h"
#include "../ops/select.h"
#include "driver.h"

namespace dfx {

// A GPU's stream; where there is none, this many threads of the CPU.
struct Where {
    const Stream* stream;
    int threads;
};

// A stored picture, in the memory of where the work is done.
struct Stored {
    Address data;
    i32 width, height;
    i64 stride;  // bytes from row to row
    i32 rotation;
    i32 offset[kChannels];  // added to filtered red, green and blue
};

// What pixels of the output are.
enum class Pixel { byte, half, tally };

// Letterbox of pictures of one (upright) size to one canvas: the taps of both axes, in one piece of memory that can be
// copied to a GPU.
class RgbPlan {
public:
    RgbPlan(i32 width, i32 height, i32 canvas_width, i32 canvas_height);
    const std::vector<u8>& memory() const { return memory_; }
    // `memory` is where the kernels find a copy of it.
    LetterboxPicture picture(const Stored& stored, Address memory) const;

private:
    i64 append(const Table& table);
    Taps taps(i64 offset, i32 outputs, i32 count, Address memory) const;

    Inner inner_;
    i32 across_count_, down_count_;
    i64 across_, down_;  // offsets
    std::vector<u8> memory_;
};

// [N, 3, height, width] at `out`; plans and memories: one a picture.
void letterbox_rgb(const std::vector<Stored>& pictures, const std::vector<const RgbPlan*>& plans,
                   const std::vector<Address>& memories, Address out, i32 height, i32 width, Pixel pixel, Where where);

// [N, 3, size, size] at `out`; matrices: [N, 2, 3] on the host, crop pixels to pixels of the upright picture.
void crop_rgb(const std::vector<Stored>& pictures, const float* matrices, Address out, i32 size, Pixel pixel,
              Where where);

void select_faces(const SelectLaunch& launch, Where where);

}  // namespace dfx
