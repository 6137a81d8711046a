// Letterbox and crop of stored pictures, one output pixel a thread: what the CUDA kernels do, and the CPU in place of a
// GPU. The filters, their weights and their rounding are those of the CPU's loops, so planes give the same to the bit.
#pragma once

#include "colour.h"
#include "footprint.h"
#include "resample.h"
#include "thread.h"

namespace dfx {

constexpr i32 kChannels = 3;

// One channel of an upright picture. A turned one differs only in the steps, which may be negative.
struct View {
    const u8* first;   // its sample at the top left
    i64 across, down;  // bytes to the next sample
    i32 width, height;
};

// Red, green and blue of pixels that lie side by side, or planes of luma and chroma, which are converted.
struct Channels {
    View views[kChannels];
    Colour colour;
    i32 planar;
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

// `inner` is the size of the scaled picture at the top left of the canvas, the rest of which is black. Taps and axes are
// those of the first channel, and of the other two.
struct LetterboxPicture {
    Channels channels;
    Taps across[2], down[2];
    i32 inner_width, inner_height;
};

// One axis of a crop. Samples are blocks of `block` pixels where boxes would be longer than 3; `first` is where the
// region of the line begins, `side` a box in phases.
struct CropAxis {
    Line line;
    i32 side, block, first, samples;
};

struct CropPicture {
    Channels channels;
    CropAxis x[2], y[2];
};

// Launches carry their pictures as parameters, of which a kernel takes 4096 bytes.
constexpr i32 kLetterboxBatch = 17, kCropBatch = 10;

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
static_assert(sizeof(LetterboxPicture) == 232 && sizeof(LetterboxLaunch) == 17 * 232 + 24, "another layout");
static_assert(sizeof(CropPicture) == 384 && sizeof(CropLaunch) == 10 * 384 + 16, "another layout");

inline namespace DFX_LEVEL {

// The channel stored at `data`, its samples `pixel` and its rows `row` bytes apart, made upright by turning it clockwise.
DFX_HD View upright(const u8* data, i32 width, i32 height, i64 pixel, i64 row, i32 degrees) {
    const i64 right = pixel * (width - 1), bottom = row * (height - 1);
    if (degrees == 90) return {data + bottom, -row, pixel, height, width};
    if (degrees == 180) return {data + bottom + right, -pixel, -row, width, height};
    if (degrees == 270) return {data + right, row, -pixel, height, width};
    return {data, pixel, row, width, height};
}

DFX_HD const u8* sample_at(const View& view, i32 x, i32 y) { return view.first + x * view.across + y * view.down; }

DFX_HD void put(Byte& out, i32 value) { out.value = static_cast<u8>(value); }
DFX_HD void put(Tally& out, i32) { ++out.count; }

// 0 to 255 in half precision: all are exact.
DFX_HD void put(Half& out, i32 value) {
    i32 power = 0;
    while (value >> (power + 1)) ++power;
    out.bits = static_cast<u16>(value == 0 ? 0 : ((15 + power) << 10) + ((value << (10 - power)) & 0x3ff));
}

// Filtered channels of one pixel to bytes.
DFX_HD void finish(const Channels& channels, const i32* levels, u8* bytes) {
    if (channels.planar) return to_rgb(channels.colour, levels[0], levels[1], levels[2], bytes[0], bytes[1], bytes[2]);
    for (i32 channel = 0; channel < kChannels; ++channel)
        bytes[channel] = static_cast<u8>(clamp(round_shift(levels[channel], kFraction), 0, 255));
}

// The bytes of one pixel to its place in [count, 3, height, width].
template <class P> DFX_HD void store(const u8* bytes, P* out, i32 width, i32 height, const Thread& at) {
    const i64 area = static_cast<i64>(width) * height;
    out += kChannels * area * at.z + static_cast<i64>(at.y) * width + at.x;
    for (i32 channel = 0; channel < kChannels; ++channel) put(out[channel * area], bytes[channel]);
}

// The filtered value of one channel of a letterbox pixel: each column down first, then across.
DFX_HD i32 blend(const View& view, const Taps& across, const Taps& down, i32 column, i32 row) {
    const i16* wx = across.weights + static_cast<i64>(column) * across.count;
    const i16* wy = down.weights + static_cast<i64>(row) * down.count;
    const u8* corner = sample_at(view, across.first[column], down.first[row]);
    i32 sum = 0;
    for (i32 x = 0; x < across.count; ++x, corner += view.across) {
        i32 blended = 0;
        const u8* sample = corner;
        for (i32 y = 0; y < down.count; ++y, sample += view.down) blended += wy[y] * *sample;
        sum += wx[x] * round_shift(blended, kWeightBits - kFraction);
    }
    return round_shift(sum, kWeightBits);
}

DFX_HD void blend_pixel(const LetterboxPicture& picture, i32 column, i32 row, u8* bytes) {
    i32 levels[kChannels];
    for (i32 channel = 0; channel < kChannels; ++channel) {
        const i32 kind = channel > 0;
        levels[channel] = blend(picture.channels.views[channel], picture.across[kind], picture.down[kind], column, row);
    }
    finish(picture.channels, levels, bytes);
}

template <class P> DFX_HD void letterbox_thread(const LetterboxLaunch& launch, const Thread& at) {
    if (at.x >= launch.width || at.y >= launch.height || at.z >= launch.count) return;
    const LetterboxPicture& picture = launch.pictures[at.z];
    u8 bytes[kChannels] = {};
    if (at.x < picture.inner_width && at.y < picture.inner_height) blend_pixel(picture, at.x, at.y, bytes);
    store(bytes, static_cast<P*>(launch.out), launch.width, launch.height, at);
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

// One channel under a box, as filtered samples: of its own, or of blocks of them.
struct SamplesUnder {
    const View& view;
    const Box &x_box, &y_box;

    DFX_HD i32 operator()(i32 x, i32 y) const { return *sample_at(view, x_box.at[x], y_box.at[y]) << kFraction; }
};

struct BlocksUnder {
    const View& view;
    const Box &x_box, &y_box;
    i32 wide, high;

    DFX_HD i32 operator()(i32 x, i32 y) const {
        const i32 left = x_box.at[x] * wide, right = least(left + wide, view.width);
        const i32 top = y_box.at[y] * high, bottom = least(top + high, view.height);
        i32 sum = 0, samples = 0;
        for (i32 row = top; row < bottom; row += block_step(high))
            for (i32 column = left; column < right; column += block_step(wide), ++samples)
                sum += *sample_at(view, column, row);
        return block_mean(sum, block_scale(samples, 8));
    }
};

DFX_HD i32 average(const View& view, const CropAxis& across, const CropAxis& down, const Box& x, const Box& y) {
    if (across.block == 1 && down.block == 1) return box_average(SamplesUnder{view, x, y}, x.weights, y.weights);
    return box_average(BlocksUnder{view, x, y, across.block, down.block}, x.weights, y.weights);
}

// The filtered channels of a crop pixel; the second and the third lie under the same boxes.
DFX_HD void average_pixel(const CropPicture& picture, i32 column, i32 row, i32* levels) {
    for (i32 kind = 0, channel = 0; kind < 2; ++kind) {
        const CropAxis &across = picture.x[kind], &down = picture.y[kind];
        const Box x = box_under(across, column, row), y = box_under(down, column, row);
        for (; channel < 1 + 2 * kind; ++channel)
            levels[channel] = average(picture.channels.views[channel], across, down, x, y);
    }
}

template <class P> DFX_HD void crop_thread(const CropLaunch& launch, const Thread& at) {
    if (at.x >= launch.size || at.y >= launch.size || at.z >= launch.count) return;
    const CropPicture& picture = launch.pictures[at.z];
    i32 levels[kChannels];
    u8 bytes[kChannels];
    average_pixel(picture, at.x, at.y, levels);
    finish(picture.channels, levels, bytes);
    store(bytes, static_cast<P*>(launch.out), launch.size, launch.size, at);
}

}  // namespace DFX_LEVEL
}  // namespace dfx
