// What the memory of a machine allows: independent reads of random cache lines, and one long read.
// Both return the sum of what they read, so that nothing can be left out.
#pragma once
#include <atomic>
#include <cstdint>

#include "parallel.h"
#include "random.h"

namespace gnn {

constexpr int64_t kLineWords = 8;  // 64-bit words in a cache line

// The first word of `reads` random lines; a line is read by its number's hash alone, so the
// processor has as many reads under way as it can.
inline uint64_t sum_random_lines(const uint64_t* words, int64_t lines, int64_t reads, int threads) {
  std::atomic<uint64_t> total{0};
  parallel_pieces(reads, 1 << 16, threads, [&](int64_t begin, int64_t end) {
    uint64_t sum = 0;
    for (int64_t i = begin; i < end; ++i) {
      const auto line = uint64_t((unsigned __int128)mix(uint64_t(i)) * uint64_t(lines) >> 64);
      sum += words[line * kLineWords];
    }
    total += sum;
  });
  return total;
}

inline uint64_t sum_stream(const uint64_t* words, int64_t size, int threads) {
  std::atomic<uint64_t> total{0};
  parallel_pieces(size, 1 << 18, threads, [&](int64_t begin, int64_t end) {
    uint64_t sum = 0;
    for (int64_t i = begin; i < end; ++i) sum += words[i];
    total += sum;
  });
  return total;
}

}  // namespace gnn
