// Work made in pieces by any thread and taken in order by one, which makes the result the same
// under any number of threads without waiting for all pieces.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "parallel.h"

namespace gnn {

// make(piece, t) on any thread t; take(piece) on the caller, in order, as soon as it is made. The
// caller makes pieces itself rather than wait idle.
template <class Make, class Take>
void in_order(int64_t pieces, int threads, const Make& make, const Take& take) {
  std::vector<std::atomic<bool>> made(pieces);
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  auto make_one = [&](int t) {
    const int64_t piece = next.fetch_add(1);
    if (piece >= pieces) return false;
    try {
      make(piece, t);
    } catch (...) {
      failed = true;
      throw;
    }
    made[piece].store(true, std::memory_order_release);
    return true;
  };
  run_threads(threads, [&](int t) {
    if (t > 0) {
      while (!failed && make_one(t)) {
      }
      return;
    }
    for (int64_t piece = 0; piece < pieces; ++piece) {
      while (!made[piece].load(std::memory_order_acquire)) {
        if (failed) return;
        if (!make_one(0)) std::this_thread::yield();
      }
      take(piece);
    }
  });
}

}  // namespace gnn
