// Partitioning edges by the high bits of a node, into at most 2048 buckets, through cache-line-sized
// write buffers (Satish et al., SIGMOD 2010).
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "memory.h"
#include "parallel.h"

namespace gnn {

constexpr int kBucketBits = 11;
constexpr int kLine = 8;  // 64-bit words in a cache line

inline int bits_for(uint64_t count) {
  int bits = 0;
  while (bits < 64 && (count >> bits)) ++bits;
  return bits;
}

// Edges grouped by destination bucket, each packed as (destination in bucket, payload).
struct Buckets {
  Buffer<uint64_t> packed;
  std::vector<int64_t> start;  // where each bucket begins; one more entry than buckets
  int shift = 0;               // a bucket spans 2^shift nodes
  int payload_bits = 0;

  int64_t count() const { return int64_t(start.size()) - 1; }
  uint64_t payload(uint64_t word) const { return word & ((uint64_t(1) << payload_bits) - 1); }
  uint64_t local(uint64_t word) const { return word >> payload_bits; }
  // Bucket numbers, fullest first, so that the last piece of work is a small one.
  std::vector<int64_t> by_size() const {
    std::vector<int64_t> order(count());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return start[a + 1] - start[a] > start[b + 1] - start[b];
    });
    return order;
  }
};

// Write a full line past the caches; its first `skip` words are not ours when that is positive.
inline void flush_line(const uint64_t* line, uint64_t* to, int64_t skip) {
  if (skip > 0) {
    std::memcpy(to + skip, line + skip, (kLine - skip) * sizeof(uint64_t));
    return;
  }
#ifdef __SSE2__
  for (int i = 0; i < kLine; i += 2)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm_load_si128(reinterpret_cast<const __m128i*>(line + i)));
#else
  std::memcpy(to, line, kLine * sizeof(uint64_t));
#endif
}
inline void finish_streaming() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

constexpr int64_t kBlock = 4096;  // edges that are looked at twice while they are in the cache

template <class Node>
bool in_range(const Node* nodes, int64_t size, int64_t num_nodes) {
  bool inside = true;
  for (int64_t i = 0; i < size; ++i) inside &= uint64_t(int64_t(nodes[i])) < uint64_t(num_nodes);
  return inside;
}

// The bits of a node that are left inside its bucket.
inline int local_bits(int64_t num_nodes) {
  int shift = 0;
  while (((std::max<int64_t>(num_nodes, 1) - 1) >> shift) >= (1 << kBucketBits)) ++shift;
  return shift;
}

// Partition `size` edges, in the given order, by dst[i]; throws unless all are below num_nodes.
// payloads(begin)(i) gives what is kept with edge i, for i = begin, begin + 1, …
template <class Node, class Payloads>
Buckets partition(const Node* dst, int64_t size, int64_t num_nodes, int payload_bits,
                  const Payloads& payloads, int threads) {
  Buckets out;
  out.shift = local_bits(num_nodes);
  out.payload_bits = payload_bits;
  if (out.shift + out.payload_bits > 64) throw std::invalid_argument("too many nodes for one build");
  const int64_t buckets = ((std::max<int64_t>(num_nodes, 1) - 1) >> out.shift) + 1;
  const uint64_t local_mask = (uint64_t(1) << out.shift) - 1;

  std::vector<std::vector<int64_t>> place(threads, std::vector<int64_t>(buckets, 0));
  run_threads(threads, [&](int t) {
    auto [begin, end] = share(size, t, threads);
    auto& counts = place[t];
    for (int64_t block = begin; block < end; block += kBlock) {
      const int64_t stop = std::min(block + kBlock, end);
      if (!in_range(dst + block, stop - block, num_nodes))
        throw std::invalid_argument("an edge names a node outside 0 … num_nodes - 1");
      for (int64_t i = block; i < stop; ++i) counts[uint64_t(dst[i]) >> out.shift]++;
    }
  });
  out.start.resize(buckets + 1);
  int64_t total = 0;
  for (int64_t b = 0; b < buckets; ++b) {
    out.start[b] = total;
    for (int t = 0; t < threads; ++t) total += std::exchange(place[t][b], total);
  }
  out.start[buckets] = total;
  out.packed = Buffer<uint64_t>(size);

  run_threads(threads, [&](int t) {
    auto [begin, end] = share(size, t, threads);
    auto& next = place[t];
    auto payload = payloads(begin);
    Buffer<uint64_t> lines(buckets * kLine);
    // A buffer stands for the line of memory that next[b] lies in: it is filled from that place on.
    const std::vector<int64_t> begin_of = next;
    for (int64_t i = begin; i < end; ++i) {
      const uint64_t node = uint64_t(dst[i]), b = node >> out.shift;
      uint64_t* line = lines.data() + b * kLine;
      const int64_t place = next[b]++;
      line[place % kLine] = (node & local_mask) << out.payload_bits | uint64_t(payload(i));
      if (place % kLine == kLine - 1)
        flush_line(line, out.packed.data() + place - (kLine - 1), begin_of[b] - (place - (kLine - 1)));
    }
    for (int64_t b = 0; b < buckets; ++b) {
      const int64_t first = std::max(begin_of[b], next[b] / kLine * kLine);
      std::memcpy(out.packed.data() + first, lines.data() + b * kLine + first % kLine,
                  (next[b] - first) * sizeof(uint64_t));
    }
    finish_streaming();
  });
  return out;
}

// The edges of one bucket, and for each of its rows where the next edge goes.
struct Bucket {
  const Buckets& all;
  const uint64_t *first, *last;
  int64_t rows;
  std::vector<int64_t>& next;

  // put(place, payload) for every edge, rows in a row and edges of a row in their order.
  template <class Put>
  void scatter(const Put& put) const {
    for (auto* word = first; word < last; ++word) put(next[all.local(*word)]++, all.payload(*word));
  }
};

// Offsets of every row to indptr, and work(bucket) for every bucket.
template <class Work>
void each_bucket(const Buckets& buckets, int64_t num_nodes, int64_t* indptr, int threads,
                 const Work& work) {
  const auto order = buckets.by_size();
  const int64_t width = int64_t(1) << buckets.shift;
  indptr[num_nodes] = buckets.start.back();
  std::atomic<int64_t> turn{0};
  run_threads(threads, [&](int) {
    std::vector<int64_t> next(width + 1);
    for (int64_t i; (i = turn.fetch_add(1)) < int64_t(order.size());) {
      const int64_t b = order[i], low = b * width;
      const Bucket bucket{buckets, buckets.packed.data() + buckets.start[b],
                          buckets.packed.data() + buckets.start[b + 1],
                          std::min(num_nodes - low, width), next};
      std::fill(next.begin(), next.end(), 0);
      for (auto* word = bucket.first; word < bucket.last; ++word) next[buckets.local(*word) + 1]++;
      next[0] = buckets.start[b];
      for (int64_t row = 0; row < bucket.rows; ++row) {
        indptr[low + row] = next[row];
        next[row + 1] += next[row];
      }
      work(bucket);
    }
  });
}

}  // namespace gnn
