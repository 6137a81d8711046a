// The CUDA driver, opened when a GPU is first asked for: neither CUDA's headers nor a GPU are needed to build this.
#pragma once

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace dfx {

// Raised in Python as dfx.errors.DeviceError. The message names the call, what the driver says of it, and the mend.
struct DeviceFailure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Raised as dfx.errors.DeviceMemoryError: the memory of a GPU is full.
struct DeviceFull : DeviceFailure {
    using DeviceFailure::DeviceFailure;
};

// An address in a GPU's memory: CUdeviceptr.
using Address = unsigned long long;

// Blocks, and threads a block, along three axes.
struct Grid {
    unsigned blocks[3], threads[3];
};

// One GPU: its primary context, which it shares with every other library of the process, and the kernels. Kept to the
// end of the process.
class Gpu {
public:
    // Throws DeviceFailure where there is no driver or no such GPU.
    static int count();
    static Gpu& get(int ordinal);

    std::string name() const;
    std::pair<int, int> compute_capability() const;
    std::size_t memory() const;  // bytes in all

    // Loads the kernels, once; `image` is a cubin, or PTX that ends in a zero byte.
    void load(const char* image);
    bool loaded();

private:
    friend class Stream;
    explicit Gpu(int ordinal);
    void retain();
    void keep_freed_memory() const;
    void* function(const std::string& name);
    void* borrow_stream();
    void give_back(void* stream) noexcept;

    int ordinal_, device_ = 0;
    bool pools_ = false;
    void *context_ = nullptr, *module_ = nullptr;
    std::map<std::string, void*> functions_;
    std::vector<void*> idle_streams_;
    std::mutex guard_;
};

// One queue of work on one GPU. Any thread may use it: each call makes the GPU's context current, and puts back what
// was. Its CUstream is lent, and lent again later: other libraries put work on it and give memory back on it whenever
// their objects go, and ONNX Runtime and DALI end the process where it is destroyed by then.
class Stream {
public:
    explicit Stream(int ordinal);
    ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    Address handle() const { return reinterpret_cast<Address>(stream_); }
    void synchronize() const;
    // Work queued from now on waits for what stands on another stream (0 is the default one).
    void wait_for(Address other) const;

    Address allocate(std::size_t bytes) const;
    void release(Address memory) const noexcept;  // once all that is queued has ended
    void upload(Address to, const void* from, std::size_t bytes) const;    // waits
    void download(void* to, Address from, std::size_t bytes) const;        // waits
    void copy(Address to, Address from, std::size_t bytes) const;          // on the GPU; is queued
    void clear(Address memory, std::size_t words) const;                   // 32 bits each
    // `parameter` is the kernel's only one; it is copied before this returns.
    void launch(const std::string& kernel, const Grid& grid, void* parameter) const;

private:
    Gpu& gpu_;
    void* stream_;
};

}  // namespace dfx
