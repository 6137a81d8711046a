#include "gpu_bindings.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "cuda/launch.h"

using namespace nb::literals;

namespace dfx {
namespace {

using Unlocked = nb::call_guard<nb::gil_scoped_release>;
using Readable = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Writable = nb::ndarray<nb::c_contig, nb::device::cpu>;
using Records = nb::ndarray<const u8, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Counts = nb::ndarray<const i32, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
// addresses of the channels, stored width and height, bytes from row to row, rotation, whether planes, whether full range
using Surface = std::tuple<Address, Address, Address, i32, i32, i64, i32, bool, bool>;

std::vector<Stored> to_stored(const std::vector<Surface>& surfaces) {
    std::vector<Stored> all;
    for (const auto& [first, second, third, width, height, stride, rotation, planar, full_range] : surfaces)
        all.push_back({{first, second, third}, width, height, stride, rotation, planar, full_range});
    return all;
}

void letterbox(const std::vector<Surface>& surfaces, const std::vector<const SurfacePlan*>& plans,
               const std::vector<Address>& memories, Address out, i32 height, i32 width, int pixel,
               const Stream* stream, int threads) {
    letterbox_surfaces(to_stored(surfaces), plans, memories, out, height, width, static_cast<Pixel>(pixel),
                       {stream, threads});
}

void crop(const std::vector<Surface>& surfaces, const Floats<3>& matrices, Address out, i32 size, int pixel,
          const Stream* stream, int threads) {
    crop_surfaces(to_stored(surfaces), matrices.data(), out, size, static_cast<Pixel>(pixel), {stream, threads});
}

void select(Address scores, Address boxes, Address landmarks, Address anchors, Address counts, Address found,
            i32 pictures, i32 anchor_count, i32 capacity, std::pair<double, double> variances, float threshold,
            const Stream* stream) {
    const SelectLaunch launch = {reinterpret_cast<const float*>(scores), reinterpret_cast<const float*>(boxes),
                                 reinterpret_cast<const float*>(landmarks), reinterpret_cast<const Anchor*>(anchors),
                                 reinterpret_cast<i32*>(counts), reinterpret_cast<Candidate*>(found),
                                 {variances.first, variances.second}, threshold, anchor_count, pictures, capacity};
    select_faces(launch, {stream, 1});
}

void unmix_pictures(Address rgb, Address planes, Address means, i32 width, i32 height, i32 count, bool full_range,
                    const Stream* stream, int threads) {
    const UnmixLaunch launch = {reinterpret_cast<const u8*>(rgb), reinterpret_cast<u8*>(planes),
                                reinterpret_cast<i16*>(means), unmixing(full_range), width, height, count};
    unmix(launch, {stream, threads});
}

std::vector<Detection> candidates_of(const Records& found, const Counts& counts, std::size_t picture) {
    std::vector<Detection> all;
    for (i32 slot = 0; slot < counts.data()[picture]; ++slot) {
        Candidate candidate;
        const std::size_t index = slot * found.shape(1) + picture;
        std::memcpy(&candidate, found.data() + index * sizeof candidate, sizeof candidate);
        all.push_back({candidate.score, candidate.anchor, candidate.face});
    }
    return all;
}

nb::list suppress_all(const Records& found, const Counts& counts, float threshold, double iou, i64 limit, i64 votes) {
    std::vector<std::vector<Detection>> faces(counts.shape(0));
    {
        const nb::gil_scoped_release release;
        for (std::size_t i = 0; i < faces.size(); ++i)
            faces[i] = suppress(candidates_of(found, counts, i), {threshold, iou, limit, votes});
    }
    return to_list(faces);
}

nb::object anchor_table(i32 height, i32 width, const std::vector<int>& strides,
                        const std::vector<std::vector<double>>& sides) {
    std::vector<Level> levels;
    for (std::size_t i = 0; i < strides.size(); ++i) levels.push_back({strides[i], sides[i]});
    std::vector<double> values;
    for (const Anchor& anchor : anchors(levels, width, height))
        values.insert(values.end(), {anchor.x, anchor.y, anchor.side});
    const std::size_t count = values.size() / 3;
    return to_array(std::move(values), {count, 3});
}

void raise_device_error(const std::exception_ptr& raised, void*) {
    try {
        std::rethrow_exception(raised);
    } catch (const DeviceFull& error) {
        PyErr_SetString(nb::module_::import_("dfx.errors").attr("DeviceMemoryError").ptr(), error.what());
    } catch (const DeviceFailure& error) {
        PyErr_SetString(nb::module_::import_("dfx.errors").attr("DeviceError").ptr(), error.what());
    }
}

void upload(const Stream& stream, Address to, const Readable& array) {
    stream.upload(to, array.data(), array.nbytes());
}

void download(const Stream& stream, const Writable& array, Address memory) {
    stream.download(array.data(), memory, array.nbytes());
}

void bind_driver(nb::module_& module) {
    nb::register_exception_translator(raise_device_error);
    module.def("gpu_count", &Gpu::count);
    module.def("gpu_name", [](int i) { return Gpu::get(i).name(); }, "ordinal"_a);
    module.def("gpu_compute_capability", [](int i) { return Gpu::get(i).compute_capability(); }, "ordinal"_a);
    module.def("gpu_memory", [](int i) { return Gpu::get(i).memory(); }, "ordinal"_a);
    module.def("gpu_loaded", [](int i) { return Gpu::get(i).loaded(); }, "ordinal"_a);
    module.def("gpu_load", [](int i, const nb::bytes& image) { Gpu::get(i).load(image.c_str()); }, "ordinal"_a,
               "image"_a);
    nb::class_<Stream>(module, "Stream")
        .def(nb::init<int>(), "ordinal"_a, Unlocked())
        .def_prop_ro("handle", &Stream::handle)
        .def("synchronize", &Stream::synchronize, Unlocked())
        .def("wait_for", &Stream::wait_for, "other"_a, Unlocked())
        .def("allocate", &Stream::allocate, "bytes"_a, Unlocked())
        .def("release", &Stream::release, "memory"_a, Unlocked())
        .def("copy", &Stream::copy, "to"_a, "from"_a, "bytes"_a, Unlocked())
        .def("clear", &Stream::clear, "memory"_a, "words"_a, Unlocked())
        .def("upload", upload, "to"_a, "array"_a, Unlocked())
        .def("download", download, "array"_a.noconvert(), "memory"_a, Unlocked());
}

}  // namespace

void bind_gpu(nb::module_& module) {
    bind_driver(module);
    nb::class_<SurfacePlan>(module, "SurfacePlan")
        .def(nb::init<i32, i32, i32, i32>(), "width"_a, "height"_a, "canvas_width"_a, "canvas_height"_a)
        .def_prop_ro("memory", [](const SurfacePlan& plan) {
            return nb::bytes(reinterpret_cast<const char*>(plan.memory().data()), plan.memory().size());
        })
        .def_prop_ro("address", [](const SurfacePlan& plan) { return reinterpret_cast<Address>(plan.memory().data()); });
    module.def("letterbox_surfaces", &letterbox, "surfaces"_a, "plans"_a, "memories"_a, "out"_a, "height"_a, "width"_a,
               "pixel"_a, "stream"_a.none(), "threads"_a, Unlocked());
    module.def("crop_surfaces", &crop, "surfaces"_a, "matrices"_a, "out"_a, "size"_a, "pixel"_a, "stream"_a.none(),
               "threads"_a, Unlocked());
    module.def("select_faces", &select, "scores"_a, "boxes"_a, "landmarks"_a, "anchors"_a, "counts"_a, "found"_a,
               "pictures"_a, "anchor_count"_a, "capacity"_a, "variances"_a, "threshold"_a, "stream"_a.none(),
               Unlocked());
    module.def("unmix", &unmix_pictures, "rgb"_a, "planes"_a, "means"_a, "width"_a, "height"_a, "count"_a,
               "full_range"_a, "stream"_a.none(), "threads"_a, Unlocked());
    module.attr("UNMIX_BATCH") = kUnmixBatch;
    module.def("suppress", &suppress_all, "found"_a, "counts"_a, "threshold"_a, "iou"_a, "limit"_a, "votes"_a);
    module.def("score_floor", [](float threshold, i64 votes) { return floor_of({threshold, 0, 0, votes}); },
               "threshold"_a, "votes"_a);
    module.def("anchors", &anchor_table, "height"_a, "width"_a, "strides"_a, "sides"_a);
}

}  // namespace dfx
