#include "dispatch.h"

#include <atomic>
#include <stdexcept>

namespace dfx {
namespace {

#ifdef DFX_HAVE_X86
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

std::vector<const Kernels*> supported() {
    std::vector<const Kernels*> all;
#ifdef DFX_HAVE_X86
    __builtin_cpu_init();
    if (has_avx512()) all.push_back(&kAvx512Kernels);
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
