// The module dfx._kernels. It trusts its caller, dfx.ops, to have checked every shape and number.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "cpu/detections.h"
#include "cpu/dispatch.h"
#include "cpu/parallel.h"
#include "cpu/plan.h"
#include "gpu_bindings.h"

using namespace nb::literals;

namespace dfx {
namespace {

using Samples = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;
// y, u, v, horizontal and vertical subsampling, depth, full range
using Frame = std::tuple<Samples, Samples, Samples, int, int, int, bool>;
using Images = nb::ndarray<u8, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

Plane to_plane(const Samples& samples) {
    const i64 bytes = static_cast<i64>(samples.itemsize());
    return {static_cast<const u8*>(samples.data()), samples.stride(0) * bytes, static_cast<i32>(samples.shape(1)),
            static_cast<i32>(samples.shape(0))};
}

Picture to_picture(const Frame& frame) {
    const auto& [y, u, v, sx, sy, depth, full_range] = frame;
    return {{to_plane(y), to_plane(u), to_plane(v)}, sx, sy, depth, full_range};
}

std::vector<Picture> to_pictures(const std::vector<Frame>& frames) {
    std::vector<Picture> pictures;
    for (const Frame& frame : frames) pictures.push_back(to_picture(frame));
    return pictures;
}

bool same_shape(const Picture& a, const Picture& b) {
    return a.planes[0].width == b.planes[0].width && a.planes[0].height == b.planes[0].height && a.sx == b.sx &&
           a.sy == b.sy;
}

// Memory that a thread keeps from call to call: fresh pages would cost as much as the arithmetic.
u8* scratch(i64 bytes) {
    thread_local std::vector<u8> memory;
    if (static_cast<i64>(memory.size()) < bytes) memory.resize(bytes);
    return memory.data();
}

void letterbox_all(const std::vector<Picture>& pictures, u8* out, i32 height, i32 width, int threads) {
    std::vector<LetterboxPlan> plans;
    std::vector<LetterboxJob> jobs;
    std::vector<std::size_t> plan_of;
    for (std::size_t i = 0; i < pictures.size(); ++i) {
        if (i == 0 || !same_shape(pictures[i - 1], pictures[i])) plans.emplace_back(pictures[i], width, height);
        plan_of.push_back(plans.size() - 1);
    }
    for (std::size_t i = 0; i < pictures.size(); ++i) {
        jobs.push_back(plans[plan_of[i]].job(pictures[i], out + i * 3 * static_cast<i64>(height) * width));
    }
    const i64 strips = (height + kStrip - 1) / kStrip;
    const Kernels& loops = kernels();
    parallel(static_cast<i64>(jobs.size()) * strips, threads, [&] {
        return [&](i64 piece) {
            const LetterboxJob& job = jobs[piece / strips];
            loops.letterbox_strip(job, static_cast<i32>(piece % strips), scratch(letterbox_scratch(job)));
        };
    });
}

void letterbox(const std::vector<Frame>& frames, const Images& out, int threads) {
    const std::vector<Picture> pictures = to_pictures(frames);
    const nb::gil_scoped_release release;
    letterbox_all(pictures, out.data(), static_cast<i32>(out.shape(2)), static_cast<i32>(out.shape(3)), threads);
}

void crop(const std::vector<Frame>& frames, const Floats<3>& matrices, const Images& out, int threads) {
    const std::vector<Picture> pictures = to_pictures(frames);
    const i32 size = static_cast<i32>(out.shape(3));
    const nb::gil_scoped_release release;
    const Kernels& loops = kernels();
    parallel(static_cast<i64>(pictures.size()), threads, [&] {
        return [&, plan = CropPlan(loops, size)](i64 i) mutable {
            const CropJob job = plan.job(pictures[i], matrices.data() + 6 * i, out.data() + i * 3 * size * size);
            loops.crop(job, scratch(crop_scratch(job)));
        };
    });
}

nb::list decode_faces(const Floats<2>& scores, const Floats<3>& boxes, const Floats<3>& landmarks, int height,
                      int width, const std::vector<int>& strides, const std::vector<std::vector<double>>& sides,
                      std::pair<double, double> variances, float threshold, double iou, long long limit,
                      long long votes) {
    Detector detector = {{}, {variances.first, variances.second}, {threshold, iou, limit, votes}};
    for (std::size_t i = 0; i < strides.size(); ++i) detector.levels.push_back({strides[i], sides[i]});
    std::vector<std::vector<Detection>> found(scores.shape(0));
    {
        const nb::gil_scoped_release release;
        const std::vector<Anchor> all = anchors(detector.levels, width, height);
        const std::size_t count = all.size();
        for (std::size_t i = 0; i < found.size(); ++i)
            found[i] = detect(detector, all, scores.data() + i * count, boxes.data() + i * count * 4,
                              landmarks.data() + i * count * 2 * kLandmarks);
    }
    return to_list(found);
}

std::vector<std::string> level_names() {
    std::vector<std::string> names;
    for (const Kernels* level : levels()) names.emplace_back(level->level);
    return names;
}

}  // namespace
}  // namespace dfx

NB_MODULE(_kernels, module) {
    module.def("letterbox", &dfx::letterbox, "frames"_a, "out"_a.noconvert(), "threads"_a);
    module.def("crop", &dfx::crop, "frames"_a, "matrices"_a, "out"_a.noconvert(), "threads"_a);
    module.def("decode_faces", &dfx::decode_faces, "scores"_a, "boxes"_a, "landmarks"_a, "height"_a, "width"_a,
               "strides"_a, "sides"_a, "variances"_a, "threshold"_a, "iou"_a, "limit"_a, "votes"_a);
    module.def("levels", &dfx::level_names, "The instruction sets that this processor can run, the best first.");
    module.def("level", [] { return std::string(dfx::kernels().level); }, "The instruction set in use.");
    module.def("use_level", &dfx::use_level, "name"_a, "Changes the instruction set; raises IndexError for others.");
    dfx::bind_gpu(module);
}
