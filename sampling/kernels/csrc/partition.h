// Partitioning edges by the high bits of a node, into at most 2048 buckets, through cache-line-sized
// write buffers (Satish et al., SIGMOD 2010).
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "memory.h"
#include "parallel.h"

namespace gnn {

constexpr int kBucketBits = 11;

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
};

// Bucket numbers, fullest first, so that the last piece of work is a small one.
inline std::vector<int64_t> fullest_first(const std::vector<int64_t>& start) {
  std::vector<int64_t> order(start.size() - 1);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return start[a + 1] - start[a] > start[b + 1] - start[b];
  });
  return order;
}

constexpr int64_t kBlock = 4096;  // edges that are looked at twice while they are in the cache

template <class Node>
bool in_range(const Node* nodes, int64_t size, int64_t num_nodes) {
  bool inside = true;
  for (int64_t i = 0; i < size; ++i) inside &= uint64_t(int64_t(nodes[i])) < uint64_t(num_nodes);
  return inside;
}

template <class Node>
void require_inside(const Node* nodes, int64_t size, int64_t num_nodes) {
  if (!in_range(nodes, size, num_nodes))
    throw std::invalid_argument("an edge names a node outside 0 … num_nodes - 1");
}

// The bits of a node that are left inside its bucket.
inline int local_bits(int64_t num_nodes) {
  int shift = 0;
  while (((std::max<int64_t>(num_nodes, 1) - 1) >> shift) >= (1 << kBucketBits)) ++shift;
  return shift;
}

// Where each bucket begins, and where in it the share of each thread does.
struct Shares {
  int shift;                                // a bucket spans 2^shift nodes
  std::vector<int64_t> start;               // one more entry than buckets
  std::vector<std::vector<int64_t>> place;  // of thread t: place[t]
};

// Throws unless all of dst are below num_nodes.
template <class Node>
Shares count_buckets(const Node* dst, int64_t size, int64_t num_nodes, int threads) {
  Shares out;
  out.shift = local_bits(num_nodes);
  const int64_t buckets = ((std::max<int64_t>(num_nodes, 1) - 1) >> out.shift) + 1;
  out.place.assign(threads, std::vector<int64_t>(buckets, 0));
  run_threads(threads, [&](int t) {
    auto [begin, end] = share(size, t, threads);
    auto& counts = out.place[t];
    for (int64_t block = begin; block < end; block += kBlock) {
      const int64_t stop = std::min(block + kBlock, end);
      require_inside(dst + block, stop - block, num_nodes);
      for (int64_t i = block; i < stop; ++i) counts[uint64_t(dst[i]) >> out.shift]++;
    }
  });
  out.start.resize(buckets + 1);
  int64_t total = 0;
  for (int64_t b = 0; b < buckets; ++b) {
    out.start[b] = total;
    for (int t = 0; t < threads; ++t) total += std::exchange(out.place[t][b], total);
  }
  out.start[buckets] = total;
  return out;
}

// Write whole cache lines past the caches.
template <class T>
void stream_lines(T* out, const T* values, int64_t count) {
#ifdef __SSE2__
  auto* from = reinterpret_cast<const __m128i*>(values);
  auto* to = reinterpret_cast<__m128i*>(out);
  for (int64_t i = 0; i < count * int64_t(sizeof(T)) / 16; ++i)
    _mm_stream_si128(to + i, _mm_load_si128(from + i));
#else
  std::memcpy(out, values, count * sizeof(T));
#endif
}

// One thread's writes to its places of all buckets, in arrays side by side. Each bucket has a group
// of a few cache lines, which stands for the group of the arrays that its next place lies in and
// goes past the caches when it is full.
template <class... T>
class GroupWriter {
 public:
  // The arrays begin cache lines; `begin` are the first places, and must stay.
  explicit GroupWriter(const std::vector<int64_t>& begin, T*... out)
      : out_(out...), begin_(begin), groups_(begin.size(), kHugeScratch) {}

  void put(int64_t bucket, int64_t place, T... values) {
    const int64_t at = place % kGroup;
    Group& group = groups_[bucket];
    ((std::get<std::array<T, kGroup>>(group.values)[at] = values), ...);
    if (at == kGroup - 1) flush(group, std::max(place - at, begin_[bucket]), place + 1);
  }
  // Write what is left of every bucket, whose next place is next[bucket].
  void finish(const std::vector<int64_t>& next) {
    for (size_t b = 0; b < begin_.size(); ++b)
      flush(groups_[b], std::max(next[b] / kGroup * kGroup, begin_[b]), next[b]);
#ifdef __SSE2__
    _mm_sfence();
#endif
  }

 private:
  static constexpr int64_t kGroup = 64 / std::min({sizeof(T)...});
  struct alignas(64) Group {
    std::tuple<std::array<T, kGroup>...> values;
  };

  // Write places first … last - 1; of a group that is shared with others, only those.
  void flush(const Group& group, int64_t first, int64_t last) {
    const bool whole = last - first == kGroup;
    (write(std::get<T*>(out_) + first,
           std::get<std::array<T, kGroup>>(group.values).data() + first % kGroup, last - first,
           whole),
     ...);
  }
  template <class V>
  static void write(V* out, const V* values, int64_t count, bool whole) {
    if (whole) stream_lines(out, values, kGroup); else std::memcpy(out, values, count * sizeof(V));
  }

  std::tuple<T*...> out_;
  const std::vector<int64_t>& begin_;
  Buffer<Group> groups_;
};

// Partition `size` edges, in the given order, by dst[i]; throws unless all are below num_nodes.
// payloads(begin)(i) gives what is kept with edge i, for i = begin, begin + 1, …
template <class Node, class Payloads>
Buckets partition(const Node* dst, int64_t size, int64_t num_nodes, int payload_bits,
                  const Payloads& payloads, int threads) {
  if (local_bits(num_nodes) + payload_bits > 64)
    throw std::invalid_argument("too many nodes for one build");
  Shares shares = count_buckets(dst, size, num_nodes, threads);
  Buckets out{Buffer<uint64_t>(size), std::move(shares.start), shares.shift, payload_bits};
  const uint64_t local_mask = (uint64_t(1) << out.shift) - 1;
  run_threads(threads, [&](int t) {
    auto [begin, end] = share(size, t, threads);
    auto payload = payloads(begin);
    std::vector<int64_t> next = shares.place[t];
    GroupWriter<uint64_t> writer(shares.place[t], out.packed.data());
    for (int64_t i = begin; i < end; ++i) {
      const uint64_t node = uint64_t(dst[i]), b = node >> out.shift;
      writer.put(b, next[b]++, (node & local_mask) << payload_bits | uint64_t(payload(i)));
    }
    writer.finish(next);
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
  const auto order = fullest_first(buckets.start);
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
