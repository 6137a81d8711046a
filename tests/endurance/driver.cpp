// A CUDA driver without a GPU, built against NVIDIA's own cuda.h, so that a wrong signature in cpp_ext/cuda/driver.cpp
// shows: memory is the host's, and kernels run on the CPU. tests/endurance/driver.sh builds it and runs the tests on it.
#include <cuda.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "ops/picture.h"
#include "ops/select.h"
#include "ops/unmix.h"

namespace {

constexpr size_t kMemory = size_t{1} << 34;  // bytes, of the GPU that there is not
const auto kContext = reinterpret_cast<CUcontext>(0x1234);
const auto kModule = reinterpret_cast<CUmodule>(0x55);
const auto kEvent = reinterpret_cast<CUevent>(0x77);
const auto kPool = reinterpret_cast<CUmemoryPool>(0x99);
thread_local int depth = 0;  // of contexts that are current

// What a caller got wrong ends the process, by the name of the call.
void want(bool right, const char* call) {
    if (right) return;
    std::fprintf(stderr, "%s: called wrongly\n", call);
    std::abort();
}

template <class Launch, void (*Work)(const Launch&, const dfx::Thread&)>
void run(int width, int height, int depth, void** parameters) {
    for (int z = 0; z < depth; ++z)
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x) Work(*static_cast<const Launch*>(parameters[0]), {x, y, z});
}

}  // namespace

#define WANT(condition) want(condition, __func__)
#define IN_CONTEXT WANT(depth > 0)

extern "C" {

CUresult cuInit(unsigned flags) { return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; }

CUresult cuGetErrorName(CUresult error, const char** name) {
    *name = error == CUDA_ERROR_INVALID_DEVICE ? "CUDA_ERROR_INVALID_DEVICE" : "CUDA_ERROR_OTHER";
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult, const char** text) {
    *text = "some words";
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
    *count = 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    *device = 0;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice) {
    std::snprintf(name, length, "pretended by driver.cpp");
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = !std::getenv("DFX_NO_POOLS"); break;
        default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t* bytes, CUdevice) {
    *bytes = kMemory;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
    *context = kContext;
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext context) {
    WANT(context == kContext);
    ++depth;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext* context) {
    IN_CONTEXT;
    --depth;
    *context = kContext;
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    IN_CONTEXT;
    WANT(flags == CU_STREAM_NON_BLOCKING);
    *stream = static_cast<CUstream>(std::malloc(64));
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
    IN_CONTEXT;
    WANT(stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
    IN_CONTEXT;
    WANT(stream && event == kEvent && flags == 0);
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent* event, unsigned flags) {
    IN_CONTEXT;
    WANT(flags == CU_EVENT_DISABLE_TIMING);
    *event = kEvent;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream) {
    IN_CONTEXT;
    WANT(event == kEvent);
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
    IN_CONTEXT;
    WANT(event == kEvent);
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    IN_CONTEXT;
    WANT(std::memcmp(image, "\x7f" "ELF", 4) == 0);
    *module = kModule;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    IN_CONTEXT;
    WANT(module == kModule);
    *function = reinterpret_cast<CUfunction>(new std::string(name));
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr* memory, size_t bytes) {
    IN_CONTEXT;
    WANT(bytes > 0);
    if (bytes > kMemory) return CUDA_ERROR_OUT_OF_MEMORY;
    *memory = reinterpret_cast<CUdeviceptr>(std::malloc(bytes));
    return *memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemFree(CUdeviceptr memory) {
    IN_CONTEXT;
    std::free(reinterpret_cast<void*>(memory));
    return CUDA_SUCCESS;
}

CUresult cuMemAllocAsync(CUdeviceptr* memory, size_t bytes, CUstream stream) {
    WANT(stream);
    return cuMemAlloc(memory, bytes);
}

CUresult cuMemFreeAsync(CUdeviceptr memory, CUstream stream) {
    WANT(stream);
    return cuMemFree(memory);
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice) {
    *pool = kPool;
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
    WANT(pool == kPool && attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD);
    WANT(*static_cast<cuuint64_t*>(value) == 512u << 20);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    IN_CONTEXT;
    WANT(stream);
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    IN_CONTEXT;
    WANT(stream);
    std::memcpy(to, reinterpret_cast<void*>(from), bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    IN_CONTEXT;
    WANT(stream);
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemsetD32Async(CUdeviceptr memory, unsigned value, size_t words, CUstream stream) {
    IN_CONTEXT;
    WANT(stream);
    for (size_t i = 0; i < words; ++i) reinterpret_cast<unsigned*>(memory)[i] = value;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, CUstream stream, void** parameters, void** extra) {
    IN_CONTEXT;
    WANT(gx && gy && gz && gy <= 65535 && gz <= 65535 && bx * by * bz <= 1024);
    WANT(!shared && stream && !extra);
    using namespace dfx;
    const std::string& name = *reinterpret_cast<std::string*>(function);
    const int width = gx * bx, height = gy * by, depth = gz * bz;
    if (name == "letterbox_bytes") run<LetterboxLaunch, letterbox_thread<Byte>>(width, height, depth, parameters);
    else if (name == "letterbox_halves") run<LetterboxLaunch, letterbox_thread<Half>>(width, height, depth, parameters);
    else if (name == "crop_bytes") run<CropLaunch, crop_thread<Byte>>(width, height, depth, parameters);
    else if (name == "crop_halves") run<CropLaunch, crop_thread<Half>>(width, height, depth, parameters);
    else if (name == "select_faces") run<SelectLaunch, select_thread>(width, height, depth, parameters);
    else if (name == "unmix_cells") run<UnmixLaunch, unmix_cell_thread>(width, height, depth, parameters);
    else if (name == "unmix_chroma") run<UnmixLaunch, unmix_chroma_thread>(width, height, depth, parameters);
    else return CUDA_ERROR_NOT_FOUND;
    return CUDA_SUCCESS;
}

}  // extern "C"
