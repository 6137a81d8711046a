// Letterbox and crop of interleaved RGB pictures, one output pixel a thread: what the CUDA kernels do, and the CPU in
// place of a GPU. The filters, their weights and their rounding are those of the CPU's loops over planes.
#pragma once

#include "footprint.h"
#include "resample.h"
#include "thread.h"

namespace dfx {

constexpr i32 kChannels = 3;

// An upright picture of bytes R, G, B. A turned one differs only in the steps, which may be negative.
struct View {
    const u8* first;   // the red of the pixel at the top left
    i64 across, down;  // bytes to the next pixel
    i32 width, height;
};

// What a kernel writes: bytes, or the same numbers as IEEE 754 half precision.
struct Byte {
    u8 value;
};
struct Half {
    u16 bits;
};
// Counts how often it is written, for tests.
struct Tally {
    u8 count;
};

// `inner` is the size of the scaled picture at the top left of the canvas, the rest of which is black; `offset` is added to
// filtered red, green and blue.
struct LetterboxPicture {
    View view;
    Taps across, down;
    i32 inner_width, inner_height;
    i32 offset[kChannels];
};

// One axis of a crop. Samples are blocks of `block` pixels where boxes would be longer than 3; `first` is where the
// region of the line begins, `side` a box in phases.
struct CropAxis {
    Line line;
    i32 side, block, first, samples;
};

struct CropPicture {
    View view;
    CropAxis x, y;
    i32 offset[kChannels];
};

// Launches carry their pictures as parameters, of which a kernel takes 4096 bytes.
constexpr i32 kLetterboxBatch = 39, kCropBatch = 23;

struct LetterboxLaunch {
    LetterboxPicture pictures[kLetterboxBatch];
    void* out;  // [count, 3, height, width]
    i32 width, height, count;
};

struct CropLaunch {
    CropPicture pictures[kCropBatch];
    void* out;  // [count, 3, size, size]
    i32 size, count;
};

// The host's compiler and NVRTC must lay them out alike.
static_assert(sizeof(LetterboxPicture) == 104 && sizeof(LetterboxLaunch) == 39 * 104 + 24, "another layout");
static_assert(sizeof(CropPicture) == 176 && sizeof(CropLaunch) == 23 * 176 + 16, "another layout");

inline namespace DFX_LEVEL {

// The picture stored at `data`, its rows `row` bytes apart, made upright by turning it clockwise.
DFX_HD View upright(const u8* data, i32 width, i32 height, i64 row, i32 degrees) {
    const i64 pixel = kChannels;
    const i64 right = pixel * (width - 1), bottom = row * (height - 1);
    if (degrees == 90) return {data + bottom, -row, pixel, height, width};
    if (degrees == 180) return {data + bottom + right, -pixel, -row, width, height};
    if (degrees == 270) return {data + right, row, -pixel, height, width};
    return {data, pixel, row, width, height};
}

DFX_HD const u8* pixel_at(const View& view, i32 x, i32 y) { return view.first + x * view.across + y * view.down; }

DFX_HD void put(Byte& out, i32 value) { out.value = static_cast<u8>(value); }
DFX_HD void put(Tally& out, i32) { ++out.count; }

// 0 to 255 in half precision: all are exact.
DFX_HD void put(Half& out, i32 value) {
    i32 power = 0;
    while (value >> (power + 1)) ++power;
    out.bits = static_cast<u16>(value == 0 ? 0 : ((15 + power) << 10) + ((value << (10 - power)) & 0x3ff));
}

// Filtered values of one pixel to its place in [count, 3, height, width].
template <class P> DFX_HD void store(const i32* levels, P* out, i32 width, i32 height, const Thread& at) {
    const i64 area = static_cast<i64>(width) * height;
    out += kChannels * area * at.z + static_cast<i64>(at.y) * width + at.x;
    for (i32 channel = 0; channel < kChannels; ++channel)
        put(out[channel * area], clamp(round_shift(levels[channel], kFraction), 0, 255));
}

// The filtered values of a letterbox pixel: each column down first, then across.
DFX_HD void blend(const LetterboxPicture& picture, i32 column, i32 row, i32* levels) {
    const i16* wx = picture.across.weights + static_cast<i64>(column) * picture.across.count;
    const i16* wy = picture.down.weights + static_cast<i64>(row) * picture.down.count;
    const u8* corner = pixel_at(picture.view, picture.across.first[column], picture.down.first[row]);
    i32 sums[kChannels] = {};
    for (i32 x = 0; x < picture.across.count; ++x, corner += picture.view.across) {
        i32 down[kChannels] = {};
        const u8* pixel = corner;
        for (i32 y = 0; y < picture.down.count; ++y, pixel += picture.view.down)
            for (i32 channel = 0; channel < kChannels; ++channel) down[channel] += wy[y] * pixel[channel];
        for (i32 channel = 0; channel < kChannels; ++channel)
            sums[channel] += wx[x] * round_shift(down[channel], kWeightBits - kFraction);
    }
    for (i32 channel = 0; channel < kChannels; ++channel)
        levels[channel] = round_shift(sums[channel], kWeightBits) + picture.offset[channel];
}

template <class P> DFX_HD void letterbox_thread(const LetterboxLaunch& launch, const Thread& at) {
    if (at.x >= launch.width || at.y >= launch.height || at.z >= launch.count) return;
    const LetterboxPicture& picture = launch.pictures[at.z];
    i32 levels[kChannels] = {};
    if (at.x < picture.inner_width && at.y < picture.inner_height) blend(picture, at.x, at.y, levels);
    store(levels, static_cast<P*>(launch.out), launch.width, launch.height, at);
}

// The taps under the box of one pixel, along one axis: its samples, edges repeated, and their weights.
struct Box {
    i32 at[kTaps];
    i16 weights[kTaps];
};

DFX_HD Box box_under(const CropAxis& axis, i32 column, i32 row) {
    const i32 start = box_start(axis.line, row_offset(axis.line, row), column);
    Box box;
    for (i32 tap = 0; tap < kTaps; ++tap)
        box.at[tap] = clamp(axis.first + (start >> kPhaseBits) + tap, 0, axis.samples - 1);
    box_weights(start & (kPhases - 1), axis.side, box.weights);
    return box;
}

// One channel under a box, as filtered samples: of pixels, or of blocks of them.
struct PixelsUnder {
    const CropPicture& picture;
    const Box &x_box, &y_box;
    i32 channel;

    DFX_HD i32 operator()(i32 x, i32 y) const {
        return pixel_at(picture.view, x_box.at[x], y_box.at[y])[channel] << kFraction;
    }
};

struct BlocksUnder {
    const CropPicture& picture;
    const Box &x_box, &y_box;
    i32 channel;

    DFX_HD i32 operator()(i32 x, i32 y) const {
        const View& view = picture.view;
        const i32 left = x_box.at[x] * picture.x.block, right = least(left + picture.x.block, view.width);
        const i32 top = y_box.at[y] * picture.y.block, bottom = least(top + picture.y.block, view.height);
        i32 sum = 0, samples = 0;
        for (i32 row = top; row < bottom; row += block_step(picture.y.block))
            for (i32 column = left; column < right; column += block_step(picture.x.block), ++samples)
                sum += pixel_at(view, column, row)[channel];
        return block_mean(sum, block_scale(samples, 8));
    }
};

template <class Samples> DFX_HD void average(const CropPicture& picture, const Thread& at, i32* levels) {
    const Box x = box_under(picture.x, at.x, at.y), y = box_under(picture.y, at.x, at.y);
    for (i32 channel = 0; channel < kChannels; ++channel)
        levels[channel] = box_average(Samples{picture, x, y, channel}, x.weights, y.weights);
}

template <class P> DFX_HD void crop_thread(const CropLaunch& launch, const Thread& at) {
    if (at.x >= launch.size || at.y >= launch.size || at.z >= launch.count) return;
    const CropPicture& picture = launch.pictures[at.z];
    i32 levels[kChannels];
    if (picture.x.block == 1 && picture.y.block == 1)
        average<PixelsUnder>(picture, at, levels);
    else
        average<BlocksUnder>(picture, at, levels);
    for (i32 channel = 0; channel < kChannels; ++channel) levels[channel] += picture.offset[channel];
    store(levels, static_cast<P*>(launch.out), launch.size, launch.size, at);
}

}  // namespace DFX_LEVEL
}  // namespace dfx
