#include "driver.h"

#ifdef __linux__
#include <dlfcn.h>
#endif

namespace dfx {
namespace {

// Types of the driver's interface (cuda.h of CUDA 12): handles are pointers; devices, results and attributes are ints.
using Result = int;
using Context = void*;
using StreamHandle = void*;
using Event = void*;
using Module = void*;
using Function = void*;
using Pool = void*;
using Bytes = std::size_t;

constexpr Result kOutOfMemory = 2, kNoDevice = 100, kInvalidDevice = 101, kNoBinary = 209, kOldDriver = 222;
constexpr int kMajor = 75, kMinor = 76, kPoolsSupported = 115;  // CUdevice_attribute
constexpr int kReleaseThreshold = 4;                             // CUmemPool_attribute
constexpr unsigned kNonBlocking = 1;                             // CUstream_flags
constexpr unsigned kNoTiming = 2;                                // CUevent_flags

// Every driver that can run CUDA 12 has these. Names with _v2 are those that cuda.h puts in place of the plain ones.
#define DFX_DRIVER_CALLS(CALL)                                                                  \
    CALL(cuInit, (unsigned))                                                                    \
    CALL(cuGetErrorName, (Result, const char**))                                                \
    CALL(cuGetErrorString, (Result, const char**))                                              \
    CALL(cuDeviceGetCount, (int*))                                                              \
    CALL(cuDeviceGet, (int*, int))                                                              \
    CALL(cuDeviceGetName, (char*, int, int))                                                    \
    CALL(cuDeviceGetAttribute, (int*, int, int))                                                \
    CALL(cuDeviceTotalMem_v2, (Bytes*, int))                                                    \
    CALL(cuDevicePrimaryCtxRetain, (Context*, int))                                             \
    CALL(cuCtxPushCurrent_v2, (Context))                                                        \
    CALL(cuCtxPopCurrent_v2, (Context*))                                                        \
    CALL(cuStreamCreate, (StreamHandle*, unsigned))                                             \
    CALL(cuStreamSynchronize, (StreamHandle))                                                   \
    CALL(cuStreamWaitEvent, (StreamHandle, Event, unsigned))                                    \
    CALL(cuEventCreate, (Event*, unsigned))                                                     \
    CALL(cuEventRecord, (Event, StreamHandle))                                                  \
    CALL(cuEventDestroy_v2, (Event))                                                            \
    CALL(cuModuleLoadData, (Module*, const void*))                                              \
    CALL(cuModuleGetFunction, (Function*, Module, const char*))                                 \
    CALL(cuMemAlloc_v2, (Address*, Bytes))                                                      \
    CALL(cuMemFree_v2, (Address))                                                               \
    CALL(cuMemAllocAsync, (Address*, Bytes, StreamHandle))                                      \
    CALL(cuMemFreeAsync, (Address, StreamHandle))                                               \
    CALL(cuDeviceGetDefaultMemPool, (Pool*, int))                                               \
    CALL(cuMemPoolSetAttribute, (Pool, int, void*))                                             \
    CALL(cuMemcpyHtoDAsync_v2, (Address, const void*, Bytes, StreamHandle))                     \
    CALL(cuMemcpyDtoHAsync_v2, (void*, Address, Bytes, StreamHandle))                           \
    CALL(cuMemcpyDtoDAsync_v2, (Address, Address, Bytes, StreamHandle))                         \
    CALL(cuMemsetD32Async, (Address, unsigned, Bytes, StreamHandle))                            \
    CALL(cuLaunchKernel, (Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
                          unsigned, StreamHandle, void**, void**))

struct Driver {
#define DFX_DECLARE(name, parameters) Result(*name) parameters = nullptr;
    DFX_DRIVER_CALLS(DFX_DECLARE)
#undef DFX_DECLARE
    Driver();
};

// Memory that a GPU's pool keeps at hand, in bytes, used or freed: the windows of eight videos of 1080p that are in
// hand, and their means of chroma (40 MiB each).
constexpr unsigned long long kKept = 512ull << 20;

std::string mend(Result result) {
    switch (result) {
        case kOutOfMemory: return "; its memory is full: see `nvidia-smi` for what else is on it, or work on less";
        case kNoDevice: return "; no GPU is visible: see `nvidia-smi`, and CUDA_VISIBLE_DEVICES";
        case kInvalidDevice: return "; there is no such GPU: see `nvidia-smi -L`, and CUDA_VISIBLE_DEVICES";
        case kNoBinary:
        case kOldDriver: return "; the kernels do not suit this GPU or its driver: update NVIDIA's driver";
        default: return "";
    }
}

std::string words(const Driver& driver, Result result) {
    const char *name = nullptr, *text = nullptr;
    if (driver.cuGetErrorName(result, &name) != 0 || !name) name = "an error that it has no name for";
    if (driver.cuGetErrorString(result, &text) != 0 || !text) text = "no words";
    return std::string(name) + " (" + std::to_string(result) + ": " + text + ")";
}

void check(const Driver& driver, const char* call, Result result) {
    if (result == 0) return;
    const std::string said = std::string(call) + ": " + words(driver, result) + mend(result);
    if (result == kOutOfMemory) throw DeviceFull(said);
    throw DeviceFailure(said);
}

#ifdef __linux__

void* open_library() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library) return library;
    const char* reason = dlerror();
    throw DeviceFailure(std::string("NVIDIA's driver is missing: ") + (reason ? reason : "libcuda.so.1 is not there") +
                        "; install the driver of a GPU, or choose the CPU");
}

template <class F> void find(void* library, const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (!function)
        throw DeviceFailure(std::string("NVIDIA's driver has no ") + name +
                            ": it is too old; version 525 or later is needed");
}

Driver::Driver() {
    void* const library = open_library();
#define DFX_FIND(name, parameters) find(library, #name, name);
    DFX_DRIVER_CALLS(DFX_FIND)
#undef DFX_FIND
    check(*this, "cuInit", cuInit(0));
}

#else

Driver::Driver() { throw DeviceFailure("dfx runs on NVIDIA GPUs on Linux only; choose the CPU"); }

#endif

// Opened again on each call until it succeeds.
const Driver& driver() {
    static const Driver opened;
    return opened;
}

#define DFX_CALL(name, ...) check(driver(), #name, driver().name(__VA_ARGS__))

// Makes a context current as long as it lives.
class Current {
public:
    explicit Current(Context context) { DFX_CALL(cuCtxPushCurrent_v2, context); }
    ~Current() {
        Context popped;
        driver().cuCtxPopCurrent_v2(&popped);
    }
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;
};

int attribute(int which, int device) {
    int value = 0;
    DFX_CALL(cuDeviceGetAttribute, &value, which, device);
    return value;
}

}  // namespace

int Gpu::count() {
    int count = 0;
    DFX_CALL(cuDeviceGetCount, &count);
    return count;
}

Gpu& Gpu::get(int ordinal) {
    static std::mutex guard;
    static auto* const all = new std::map<int, Gpu*>;  // never freed: the driver may end before the process does
    const std::lock_guard<std::mutex> lock(guard);
    Gpu*& gpu = (*all)[ordinal];
    if (!gpu) gpu = new Gpu(ordinal);
    return *gpu;
}

Gpu::Gpu(int ordinal) : ordinal_(ordinal) { DFX_CALL(cuDeviceGet, &device_, ordinal); }

// A context costs memory and time, and what only asks for the name needs none.
void Gpu::retain() {
    const std::lock_guard<std::mutex> lock(guard_);
    if (context_) return;
    Context context = nullptr;
    DFX_CALL(cuDevicePrimaryCtxRetain, &context, device_);
    pools_ = attribute(kPoolsSupported, device_) != 0;
    if (pools_) keep_freed_memory();
    context_ = context;
}

// By default a pool gives back all that is free whenever a stream is waited for, and the next allocation is slow. A
// driver that refuses costs no more than that.
void Gpu::keep_freed_memory() const {
    Pool pool = nullptr;
    unsigned long long bytes = kKept;
    if (driver().cuDeviceGetDefaultMemPool(&pool, device_) == 0)
        driver().cuMemPoolSetAttribute(pool, kReleaseThreshold, &bytes);
}

std::string Gpu::name() const {
    char name[256] = {};
    DFX_CALL(cuDeviceGetName, name, static_cast<int>(sizeof name) - 1, device_);
    return name;
}

std::pair<int, int> Gpu::compute_capability() const { return {attribute(kMajor, device_), attribute(kMinor, device_)}; }

std::size_t Gpu::memory() const {
    std::size_t bytes = 0;
    DFX_CALL(cuDeviceTotalMem_v2, &bytes, device_);
    return bytes;
}

bool Gpu::loaded() {
    const std::lock_guard<std::mutex> lock(guard_);
    return module_ != nullptr;
}

void Gpu::load(const char* image) {
    retain();
    const Current current(context_);
    const std::lock_guard<std::mutex> lock(guard_);
    if (!module_) DFX_CALL(cuModuleLoadData, &module_, image);
}

// The context is current.
void* Gpu::function(const std::string& name) {
    const std::lock_guard<std::mutex> lock(guard_);
    if (!module_) throw DeviceFailure("the kernels are not loaded on GPU " + std::to_string(ordinal_));
    void*& function = functions_[name];
    if (!function) DFX_CALL(cuModuleGetFunction, &function, module_, name.c_str());
    return function;
}

void* Gpu::borrow_stream() {
    retain();
    const Current current(context_);
    const std::lock_guard<std::mutex> lock(guard_);
    void* stream = nullptr;
    if (idle_streams_.empty()) {
        DFX_CALL(cuStreamCreate, &stream, kNonBlocking);
        idle_streams_.reserve(idle_streams_.capacity() + 1);  // so that giving it back cannot fail
    } else {
        stream = idle_streams_.back();
        idle_streams_.pop_back();
    }
    return stream;
}

void Gpu::give_back(void* stream) noexcept {
    const std::lock_guard<std::mutex> lock(guard_);
    idle_streams_.push_back(stream);
}

Stream::Stream(int ordinal) : gpu_(Gpu::get(ordinal)), stream_(gpu_.borrow_stream()) {}

Stream::~Stream() { gpu_.give_back(stream_); }

void Stream::synchronize() const {
    const Current current(gpu_.context_);
    DFX_CALL(cuStreamSynchronize, stream_);
}

void Stream::wait_for(Address other) const {
    const Current current(gpu_.context_);
    Event event = nullptr;
    DFX_CALL(cuEventCreate, &event, kNoTiming);
    const Result recorded = driver().cuEventRecord(event, reinterpret_cast<StreamHandle>(other));
    const Result waits = recorded ? recorded : driver().cuStreamWaitEvent(stream_, event, 0);
    driver().cuEventDestroy_v2(event);  // lives on until it has come to pass
    check(driver(), recorded ? "cuEventRecord" : "cuStreamWaitEvent", waits);
}

Address Stream::allocate(std::size_t bytes) const {
    const Current current(gpu_.context_);
    Address memory = 0;
    if (bytes == 0) bytes = 1;
    if (gpu_.pools_)
        DFX_CALL(cuMemAllocAsync, &memory, bytes, stream_);
    else
        DFX_CALL(cuMemAlloc_v2, &memory, bytes);
    return memory;
}

void Stream::release(Address memory) const noexcept {
    try {
        const Current current(gpu_.context_);
        if (gpu_.pools_) {
            driver().cuMemFreeAsync(memory, stream_);
        } else {
            driver().cuStreamSynchronize(stream_);
            driver().cuMemFree_v2(memory);
        }
    } catch (const DeviceFailure&) {
        // The driver ended before the interpreter did, and the memory with it.
    }
}

void Stream::upload(Address to, const void* from, std::size_t bytes) const {
    if (bytes == 0) return;
    const Current current(gpu_.context_);
    DFX_CALL(cuMemcpyHtoDAsync_v2, to, from, bytes, stream_);
    DFX_CALL(cuStreamSynchronize, stream_);
}

void Stream::download(void* to, Address from, std::size_t bytes) const {
    if (bytes == 0) return;
    const Current current(gpu_.context_);
    DFX_CALL(cuMemcpyDtoHAsync_v2, to, from, bytes, stream_);
    DFX_CALL(cuStreamSynchronize, stream_);
}

void Stream::copy(Address to, Address from, std::size_t bytes) const {
    if (bytes == 0) return;
    const Current current(gpu_.context_);
    DFX_CALL(cuMemcpyDtoDAsync_v2, to, from, bytes, stream_);
}

void Stream::clear(Address memory, std::size_t words) const {
    if (words == 0) return;
    const Current current(gpu_.context_);
    DFX_CALL(cuMemsetD32Async, memory, 0u, words, stream_);
}

void Stream::launch(const std::string& kernel, const Grid& grid, void* parameter) const {
    const Current current(gpu_.context_);
    const Function function = gpu_.function(kernel);
    const auto& [blocks, threads] = grid;
    void* parameters[] = {parameter};
    DFX_CALL(cuLaunchKernel, function, blocks[0], blocks[1], blocks[2], threads[0], threads[1], threads[2], 0u, stream_,
             parameters, nullptr);
}

}  // namespace dfx
