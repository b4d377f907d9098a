// Work done in chunks by any thread and taken in order by one, which makes the result the same under
// any number of threads without waiting for all chunks.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <thread>

#include "parallel.h"

namespace gnn {

// Chunks of work that any thread may do and one thread takes in order: what lies between done and
// taken stays within a few chunks, so that it stays in the cache.
class Chunks {
 public:
  enum Claim { kDone, kWait, kNone };
  static constexpr int64_t kAhead = 8;

  explicit Chunks(int64_t count) : count_(count) {}

  // Do the next chunk, unless there is none or too many wait to be taken.
  template <class Work>
  Claim claim(const Work& work) {
    int64_t chunk = next_.load();
    do {
      if (chunk >= count_ || failed_) return kNone;
      if (chunk >= taken_.load(std::memory_order_acquire) + kAhead) return kWait;
    } while (!next_.compare_exchange_weak(chunk, chunk + 1));
    guard([&] { work(chunk, chunk % kAhead); });
    ready_[chunk % kAhead].store(chunk + 1, std::memory_order_release);
    return kDone;
  }

  // Wait for a chunk, doing others meanwhile; false when another thread failed.
  template <class Work>
  bool wait_for(int64_t chunk, const Work& work) {
    while (ready_[chunk % kAhead].load(std::memory_order_acquire) != chunk + 1) {
      if (failed_) return false;
      if (claim(work) != kDone) std::this_thread::yield();
    }
    return true;
  }
  template <class Take>
  void take(int64_t chunk, const Take& take) {
    guard([&] { take(chunk, chunk % kAhead); });
    taken_.store(chunk + 1, std::memory_order_release);
  }

 private:
  template <class Work>
  void guard(const Work& work) {
    try {
      work();
    } catch (...) {
      failed_ = true;
      throw;
    }
  }

  int64_t count_;
  std::array<std::atomic<int64_t>, kAhead> ready_{};
  std::atomic<int64_t> next_{0}, taken_{0};
  std::atomic<bool> failed_{false};
};

// work(chunk, slot) for every chunk by any thread, and take(chunk, slot) for every chunk in order.
template <class Work, class Take>
void in_order(int64_t count, int threads, const Work& work, const Take& take) {
  Chunks chunks(count);
  run_threads(threads, [&](int t) {
    if (t > 0) {
      for (Chunks::Claim claim; (claim = chunks.claim(work)) != Chunks::kNone;)
        if (claim == Chunks::kWait) std::this_thread::yield();
      return;
    }
    for (int64_t chunk = 0; chunk < count && chunks.wait_for(chunk, work); ++chunk)
      chunks.take(chunk, take);
  });
}

}  // namespace gnn
