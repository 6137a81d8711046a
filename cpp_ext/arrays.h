// Arrays that go to and from Python.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <utility>
#include <vector>

#include "cpu/detections.h"

namespace nb = nanobind;

namespace dfx {

template <int N> using Floats = nb::ndarray<const float, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

template <class T> nb::object to_array(std::vector<T> values, std::initializer_list<std::size_t> shape) {
    auto* kept = new std::vector<T>(std::move(values));
    const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, T>(kept->data(), shape.size(), shape.begin(), owner));
}

inline nb::tuple to_arrays(const std::vector<Detection>& found) {
    std::vector<float> scores, boxes, landmarks;
    for (const Detection& detection : found) {
        scores.push_back(detection.score);
        boxes.insert(boxes.end(), std::begin(detection.face.box), std::end(detection.face.box));
        landmarks.insert(landmarks.end(), std::begin(detection.face.landmarks), std::end(detection.face.landmarks));
    }
    const std::size_t count = found.size();
    return nb::make_tuple(to_array(std::move(boxes), {count, 4}), to_array(std::move(scores), {count}),
                          to_array(std::move(landmarks), {count, kLandmarks, 2}));
}

inline nb::list to_list(const std::vector<std::vector<Detection>>& found) {
    nb::list faces;
    for (const auto& picture : found) faces.append(to_arrays(picture));
    return faces;
}

}  // namespace dfx
