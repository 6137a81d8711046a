#include "dispatch.h"

#include <atomic>
#include <stdexcept>

namespace dfx {
namespace {

std::vector<const Kernels*> supported() {
    std::vector<const Kernels*> all;
#ifdef DFX_HAVE_AVX2
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) all.push_back(&kAvx2Kernels);
#endif
    all.push_back(&kPortableKernels);
    return all;
}

std::atomic<const Kernels*>& current() {
    static std::atomic<const Kernels*> chosen{levels().front()};
    return chosen;
}

}  // namespace

const std::vector<const Kernels*>& levels() {
    static const std::vector<const Kernels*> all = supported();
    return all;
}

const Kernels& kernels() { return *current(); }

void use_level(const std::string& name) {
    for (const Kernels* level : levels())
        if (name == level->level) {
            current() = level;
            return;
        }
    throw std::out_of_range("no such level: " + name);
}

}  // namespace dfx
