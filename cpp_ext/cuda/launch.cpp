#include "launch.h"

#include <algorithm>
#include <cstring>

#include "../cpu/parallel.h"

namespace dfx {
namespace {

// A kernel: its name in kernels.cu, and what each of its threads does.
template <class Launch> struct Kernel {
    const char* name;
    void (*thread)(const Launch&, const Thread&);
};

// Rows of 32 threads, so that a warp writes 32 pixels side by side.
Grid grid_of(i32 width, i32 height, i32 count, unsigned wide = 32, unsigned high = 8) {
    return {{(width + wide - 1) / wide, (height + high - 1) / high, static_cast<unsigned>(count)}, {wide, high, 1}};
}

// What a GPU does, one block and one thread after the other.
template <class Launch>
void emulate_block(const Kernel<Launch>& kernel, const Grid& grid, const Launch& launch, i64 block) {
    const i64 wide = grid.blocks[0], high = grid.blocks[1];
    const i32 left = static_cast<i32>(block % wide * grid.threads[0]);
    const i32 top = static_cast<i32>(block / wide % high * grid.threads[1]);
    const i32 picture = static_cast<i32>(block / (wide * high));
    for (i32 y = 0; y < static_cast<i32>(grid.threads[1]); ++y)
        for (i32 x = 0; x < static_cast<i32>(grid.threads[0]); ++x)
            kernel.thread(launch, {left + x, top + y, picture});
}

template <class Launch> void run(const Kernel<Launch>& kernel, const Grid& grid, Launch launch, const Where& where) {
    if (where.stream) return where.stream->launch(kernel.name, grid, &launch);
    const i64 blocks = static_cast<i64>(grid.blocks[0]) * grid.blocks[1] * grid.blocks[2];
    parallel(blocks, where.threads, [&] {
        return [&](i64 block) { emulate_block(kernel, grid, launch, block); };
    });
}

Kernel<LetterboxLaunch> letterbox_kernel(Pixel pixel) {
    if (pixel == Pixel::byte) return {"letterbox_bytes", letterbox_thread<Byte>};
    if (pixel == Pixel::half) return {"letterbox_halves", letterbox_thread<Half>};
    return {"", letterbox_thread<Tally>};
}

Kernel<CropLaunch> crop_kernel(Pixel pixel) {
    if (pixel == Pixel::byte) return {"crop_bytes", crop_thread<Byte>};
    if (pixel == Pixel::half) return {"crop_halves", crop_thread<Half>};
    return {"", crop_thread<Tally>};
}

// Where picture `index` of [N, 3, height, width] begins.
void* image_at(Address out, i64 index, i64 height, i64 width, Pixel pixel) {
    const i64 bytes = pixel == Pixel::half ? sizeof(Half) : 1;
    return reinterpret_cast<void*>(out + index * kChannels * height * width * bytes);
}

View view_of(const Stored& stored, i32 channel) {
    const i32 covered = stored.planar && channel > 0 ? 2 : 1;  // pixels a sample, across and down
    return upright(reinterpret_cast<const u8*>(stored.channels[channel]), (stored.width + covered - 1) / covered,
                   (stored.height + covered - 1) / covered, stored.planar ? 1 : kChannels, stored.stride / covered,
                   stored.rotation);
}

Channels channels_of(const Stored& stored) {
    return {{view_of(stored, 0), view_of(stored, 1), view_of(stored, 2)}, bt601(8, stored.full_range), stored.planar};
}

CropAxis axis_of(const float* row, i32 subsampling, i32 samples, i32 size) {
    const Span s = span(row, subsampling, samples, size);
    return {s.line, s.side, s.block, s.first, (samples + s.block - 1) / s.block};
}

CropPicture crop_of(const Stored& stored, const float* matrix, i32 size) {
    CropPicture picture = {channels_of(stored), {}, {}};
    for (i32 kind = 0; kind < 2; ++kind) {
        const View& view = picture.channels.views[kind];
        const i32 covered = stored.planar ? kind + 1 : 1;
        picture.x[kind] = axis_of(matrix, covered, view.width, size);
        picture.y[kind] = axis_of(matrix + 3, covered, view.height, size);
    }
    return picture;
}

}  // namespace

SurfacePlan::SurfacePlan(i32 width, i32 height, i32 canvas_width, i32 canvas_height)
    : inner_(fit(width, height, canvas_width, canvas_height)) {
    for (i32 kind = 0; kind < 2; ++kind) {
        const i32 covered = kind + 1;
        across_[kind] = append(covered, (width + covered - 1) / covered, inner_.width);
        down_[kind] = append(covered, (height + covered - 1) / covered, inner_.height);
    }
}

// First samples, then weights; what follows them is padded, so that numbers of 32 bits stay aligned.
SurfacePlan::Part SurfacePlan::append(i32 subsampling, i32 size, i32 outputs) {
    const Table from = table(inner_, subsampling, size, outputs);
    const i64 offset = static_cast<i64>(memory_.size());
    const i64 firsts = from.first.size() * sizeof(i32), weights = from.weights.size() * sizeof(i16);
    memory_.resize(offset + firsts + (weights + 7) / 8 * 8);
    std::memcpy(memory_.data() + offset, from.first.data(), firsts);
    std::memcpy(memory_.data() + offset + firsts, from.weights.data(), weights);
    return {offset, outputs, from.count};
}

Taps SurfacePlan::taps(const Part& part, Address memory) {
    const Address first = memory + part.offset, weights = first + part.outputs * sizeof(i32);
    return {part.count, reinterpret_cast<const i32*>(first), reinterpret_cast<const i16*>(weights)};
}

LetterboxPicture SurfacePlan::picture(const Stored& stored, Address memory) const {
    const i32 other = stored.planar;  // red, green and blue have one table
    return {channels_of(stored),
            {taps(across_[0], memory), taps(across_[other], memory)},
            {taps(down_[0], memory), taps(down_[other], memory)},
            inner_.width,
            inner_.height};
}

void letterbox_surfaces(const std::vector<Stored>& pictures, const std::vector<const SurfacePlan*>& plans,
                        const std::vector<Address>& memories, Address out, i32 height, i32 width, Pixel pixel,
                        Where where) {
    const i32 total = static_cast<i32>(pictures.size());
    for (i32 first = 0; first < total; first += kLetterboxBatch) {
        LetterboxLaunch launch = {};
        launch.out = image_at(out, first, height, width, pixel);
        launch.width = width;
        launch.height = height;
        launch.count = std::min(kLetterboxBatch, total - first);
        for (i32 i = 0; i < launch.count; ++i)
            launch.pictures[i] = plans[first + i]->picture(pictures[first + i], memories[first + i]);
        run(letterbox_kernel(pixel), grid_of(width, height, launch.count), launch, where);
    }
}

void crop_surfaces(const std::vector<Stored>& pictures, const float* matrices, Address out, i32 size, Pixel pixel,
                   Where where) {
    const i32 total = static_cast<i32>(pictures.size());
    for (i32 first = 0; first < total; first += kCropBatch) {
        CropLaunch launch = {};
        launch.out = image_at(out, first, size, size, pixel);
        launch.size = size;
        launch.count = std::min(kCropBatch, total - first);
        for (i32 i = 0; i < launch.count; ++i)
            launch.pictures[i] = crop_of(pictures[first + i], matrices + 6 * static_cast<i64>(first + i), size);
        run(crop_kernel(pixel), grid_of(size, size, launch.count), launch, where);
    }
}

void select_faces(const SelectLaunch& launch, Where where) {
    const Kernel<SelectLaunch> kernel = {"select_faces", select_thread};
    run(kernel, grid_of(launch.anchor_count, launch.pictures, 1, 256, 1), launch, where);
}

void unmix(UnmixLaunch launch, Where where) {
    const i32 wide = launch.width / 2, high = launch.height / 2, total = launch.count;
    const i64 area = static_cast<i64>(launch.width) * launch.height;
    const Kernel<UnmixLaunch> cells = {"unmix_cells", unmix_cell_thread}, chroma = {"unmix_chroma", unmix_chroma_thread};
    for (i32 first = 0; first < total; first += kUnmixBatch) {
        launch.count = std::min(kUnmixBatch, total - first);
        run(cells, grid_of(wide, high, launch.count), launch, where);
        run(chroma, grid_of(wide, high, launch.count), launch, where);
        launch.rgb += 3 * area * kUnmixBatch;
        launch.planes += 3 * area / 2 * kUnmixBatch;
    }
}

}  // namespace dfx
