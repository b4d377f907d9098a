// Building, checking and transposing compressed sparse columns.
//
// Edges are first partitioned by the high bits of their destination into at most 2048 buckets,
// through cache-line-sized write buffers (Satish et al., SIGMOD 2010), and only then counted and
// scattered, inside a bucket that fits the cache. The classic count-and-scatter over the whole
// graph takes a cache and page miss per edge.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
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

// Partition `size` edges; payload(i) < payload_end is kept with edge i, in the given order.
template <class Node, class Payload>
Buckets partition(const Node* dst, int64_t size, int64_t num_nodes, uint64_t payload_end,
                  const Payload& payload, int threads) {
  Buckets out;
  while (((std::max<int64_t>(num_nodes, 1) - 1) >> out.shift) >= (1 << kBucketBits)) ++out.shift;
  out.payload_bits = bits_for(payload_end);
  if (out.shift + out.payload_bits > 64) throw std::invalid_argument("too many nodes for one build");
  const int64_t buckets = ((std::max<int64_t>(num_nodes, 1) - 1) >> out.shift) + 1;
  const uint64_t local_mask = (uint64_t(1) << out.shift) - 1;

  std::vector<std::vector<int64_t>> place(threads, std::vector<int64_t>(buckets, 0));
  run_threads(threads, [&](int t) {
    auto [begin, end] = share(size, t, threads);
    auto& counts = place[t];
    for (int64_t i = begin; i < end; ++i) counts[uint64_t(dst[i]) >> out.shift]++;
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

// Offsets of every row, and the payloads row by row, each row put in order by sort_row.
template <class Out, class SortRow>
void finish_rows(const Buckets& buckets, int64_t num_nodes, int64_t* indptr, Out* out, int threads,
                 const SortRow& sort_row) {
  const auto order = buckets.by_size();
  const int64_t width = int64_t(1) << buckets.shift;
  indptr[num_nodes] = buckets.start.back();
  std::atomic<int64_t> turn{0};
  run_threads(threads, [&](int) {
    std::vector<int64_t> place(width + 1);
    for (int64_t i; (i = turn.fetch_add(1)) < int64_t(order.size());) {
      const int64_t b = order[i], low = b * width, rows = std::min(num_nodes - low, width);
      const uint64_t *first = buckets.packed.data() + buckets.start[b],
                     *last = buckets.packed.data() + buckets.start[b + 1];
      std::fill(place.begin(), place.end(), 0);
      for (auto* word = first; word < last; ++word) place[buckets.local(*word) + 1]++;
      for (int64_t row = 0; row < rows; ++row) {
        place[row + 1] += place[row];
        indptr[low + row] = buckets.start[b] + place[row];
      }
      Out* base = out + buckets.start[b];
      for (auto* word = first; word < last; ++word)
        base[place[buckets.local(*word)]++] = Out(buckets.payload(*word));
      for (int64_t row = 0, begin = 0; row < rows; begin = place[row++])
        if (place[row] - begin > 1) sort_row(base + begin, base + place[row]);
    }
  });
}

#ifdef GNN_X86
#define GNN_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GNN_CLONES
#endif

constexpr int64_t kRankLimit = 128;

// Sort up to kRankLimit non-negative integers by counting, for each, how many are smaller: no
// branch to mispredict. Equal ones share a rank; the gaps they leave are filled from the left.
GNN_CLONES inline void rank_sort(int32_t* first, int64_t size) {
  int32_t value[kRankLimit], rank[kRankLimit], sorted[kRankLimit];
  const int64_t padded = (size + 15) / 16 * 16;
  for (int64_t i = 0; i < padded; ++i) value[i] = i < size ? first[i] : 0;
  for (int64_t i = 0; i < padded; ++i) rank[i] = 0;
  for (int64_t j = 0; j < size; ++j) {
    const int32_t other = value[j];
    for (int64_t i = 0; i < padded; ++i) rank[i] += value[i] > other;
  }
  for (int64_t i = 0; i < size; ++i) sorted[i] = -1;
  for (int64_t i = 0; i < size; ++i) sorted[rank[i]] = value[i];
  for (int64_t i = 0; i < size; ++i) first[i] = sorted[i] < 0 ? first[i - 1] : sorted[i];
}
inline void rank_sort(int64_t* first, int64_t size) { std::sort(first, first + size); }

// Sort non-negative integers: by rank for short rows, bytewise counting for longer ones.
template <class T>
void sort_ids(T* first, T* last) {
  const int64_t size = last - first;
  if (size <= kRankLimit) return rank_sort(first, size);
  thread_local std::vector<T> other;
  if (int64_t(other.size()) < size) other.resize(size);
  T top = 0;
  for (T* i = first; i < last; ++i) top |= *i;
  T *from = first, *to = other.data();
  for (int shift = 0; shift < int(sizeof(T)) * 8 && (uint64_t(top) >> shift); shift += 8) {
    int64_t count[257] = {0};
    for (int64_t i = 0; i < size; ++i) count[((from[i] >> shift) & 255) + 1]++;
    for (int i = 0; i < 256; ++i) count[i + 1] += count[i];
    for (int64_t i = 0; i < size; ++i) to[count[(from[i] >> shift) & 255]++] = from[i];
    std::swap(from, to);
  }
  if (from != first) std::memcpy(first, from, size * sizeof(T));
}

template <class Node, class Out>
void build_csc(const Node* src, const Node* dst, int64_t size, int64_t num_nodes, int64_t* indptr,
               Out* indices, int threads) {
  threads = int(std::clamp<int64_t>(size / 65536, 1, threads));
  auto buckets = partition(dst, size, num_nodes, uint64_t(num_nodes),
                           [&](int64_t i) { return src[i]; }, threads);
  finish_rows(buckets, num_nodes, indptr, indices, threads,
              [](Out* first, Out* last) { sort_ids(first, last); });
}

// What rows are sorted by besides the source; null where the graph has no such array.
struct EdgeKeys {
  const int16_t* type;
  const int64_t* time;
  const float* weight;
};

template <class Node>
void csc_order(const Node* src, const Node* dst, int64_t size, int64_t num_nodes, EdgeKeys keys,
               int64_t* indptr, int64_t* order, int threads) {
  threads = int(std::clamp<int64_t>(size / 65536, 1, threads));
  auto buckets = partition(dst, size, num_nodes, uint64_t(size), [](int64_t i) { return i; },
                           threads);
  auto before = [&](int64_t a, int64_t b) {
    if (keys.type && keys.type[a] != keys.type[b]) return keys.type[a] < keys.type[b];
    if (keys.time && keys.time[a] != keys.time[b]) return keys.time[a] < keys.time[b];
    if (src[a] != src[b]) return src[a] < src[b];
    if (keys.weight && keys.weight[a] != keys.weight[b]) return keys.weight[a] < keys.weight[b];
    return a < b;
  };
  finish_rows(buckets, num_nodes, indptr, order, threads,
              [&](int64_t* first, int64_t* last) { std::sort(first, last, before); });
}

// What is wrong with an adjacency, or an empty string.
template <class Node>
std::string check_csc(const int64_t* indptr, int64_t offsets, const Node* indices, int64_t edges,
                      int threads) {
  using std::to_string;
  const int64_t rows = offsets - 1;
  if (rows < 0 || indptr[0] != 0) return "indptr does not start at 0";
  std::atomic<int64_t> bad_row{rows}, bad_edge{edges};
  auto lower = [](std::atomic<int64_t>& least, int64_t value) {
    int64_t seen = least.load();
    while (value < seen && !least.compare_exchange_weak(seen, value)) {
    }
  };
  parallel_pieces(rows, 1 << 18, threads, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v)
      if (indptr[v + 1] < indptr[v]) return lower(bad_row, v);
  });
  if (bad_row < rows) return "indptr falls after row " + to_string(bad_row.load());
  if (indptr[rows] != edges)
    return "indptr ends at " + to_string(indptr[rows]) + ", but there are " + to_string(edges) +
           " edges";
  parallel_pieces(edges, 1 << 18, threads, [&](int64_t begin, int64_t end) {
    bool good = true;
    for (int64_t e = begin; e < end; ++e) good &= indices[e] >= 0 && indices[e] < rows;
    if (good) return;
    for (int64_t e = begin; e < end; ++e)
      if (indices[e] < 0 || indices[e] >= rows) return lower(bad_edge, e);
  });
  if (bad_edge < edges)
    return "indices[" + to_string(bad_edge.load()) + "] is " + to_string(indices[bad_edge]) +
           ", outside 0 … " + to_string(rows - 1);
  return "";
}

// The same edges listed by source, in order of position.
template <class Node>
void transpose(const int64_t* indptr, int64_t rows, const Node* indices, int64_t num_src,
               int64_t* t_indptr, Node* t_indices, int64_t* order) {
  const int64_t edges = indptr[rows];
  std::fill(t_indptr, t_indptr + num_src + 1, 0);
  for (int64_t e = 0; e < edges; ++e) t_indptr[indices[e] + 1]++;
  std::partial_sum(t_indptr, t_indptr + num_src + 1, t_indptr);
  std::vector<int64_t> next(t_indptr, t_indptr + num_src);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t e = indptr[row]; e < indptr[row + 1]; ++e) {
      int64_t place = next[indices[e]]++;
      t_indices[place] = Node(row);
      order[place] = e;
    }
}

}  // namespace gnn
