// Shares numbered pieces of work out among threads. No piece depends on which thread does it.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace dfx {

// Calls make_worker() once a thread, and what it returns with each number below `count`, once. The first exception of
// any thread is thrown again here, when all have ended.
template <class MakeWorker> void parallel(long long count, int threads, const MakeWorker& make_worker) {
    std::atomic<long long> next{0};
    std::exception_ptr failure;
    std::mutex guard;
    const auto run = [&] {
        try {
            auto worker = make_worker();
            for (long long i = next++; i < count; i = next++) worker(i);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(guard);
            failure = std::current_exception();
            next = count;
        }
    };
    std::vector<std::thread> others;
    const auto wanted = std::min<long long>(threads, count) - 1;
    try {
        for (long long i = 0; i < wanted; ++i) others.emplace_back(run);
    } catch (const std::exception&) {
        // No more threads are to be had: those that there are do the work.
    }
    run();
    for (std::thread& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace dfx
