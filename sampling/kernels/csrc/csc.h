// Building and checking compressed sparse columns.
//
// Edges are first partitioned by destination, and only then counted and scattered, inside a bucket
// that fits the cache. The classic count-and-scatter over the whole graph takes a cache and page
// miss per edge.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "partition.h"
#include "sort.h"

namespace gnn {

// The payloads of all edges row by row, the rows of each bucket put in order by
// sort(payloads, begin, ends, rows).
template <class Out, class Sort>
void finish_rows(const Buckets& buckets, int64_t num_nodes, int64_t* indptr, Out* out, int threads,
                 const Sort& sort) {
  each_bucket(buckets, num_nodes, indptr, threads, [&](const Bucket& bucket) {
    const int64_t begin = bucket.next[0];
    bucket.scatter([&](int64_t place, uint64_t payload) { out[place] = Out(payload); });
    sort(out, begin, bucket.next.data(), bucket.rows);
  });
}

// The sources of all edges by destination bucket, in `sources`, and beside each its destination
// within the bucket.
template <class Local, class Node, class Out>
Buffer<Local> split_edges(const Node* src, const Node* dst, int64_t size, int64_t num_nodes,
                          const Shares& shares, Out* sources, int threads) {
  Buffer<Local> locals(size);
  const uint64_t mask = (uint64_t(1) << shares.shift) - 1;
  run_threads(threads, [&](int t) {
    auto [begin, end] = share(size, t, threads);
    std::vector<int64_t> next = shares.place[t];
    GroupWriter<Out, Local> writer(shares.place[t], sources, locals.data());
    for (int64_t block = begin; block < end; block += kBlock) {
      const int64_t stop = std::min(block + kBlock, end);
      require_inside(src + block, stop - block, num_nodes);
      for (int64_t i = block; i < stop; ++i) {
        const uint64_t node = uint64_t(dst[i]), b = node >> shares.shift;
        writer.put(b, next[b]++, Out(src[i]), Local(node & mask));
      }
    }
    writer.finish(next);
  });
  return locals;
}

// What a thread puts the edges of a bucket in order with.
template <class Out>
struct RowScratch {
  std::vector<int64_t> next;  // of each row, the place of its next edge
  Buffer<Out> sources;
};

// The edges of one bucket row by row: offsets from `begin` on, sources sorted in place.
template <class Out, class Local>
void finish_bucket(Out* sources, const Local* locals, int64_t begin, int64_t size, int64_t* indptr,
                   int64_t rows, RowScratch<Out>& scratch) {
  scratch.sources.reserve(size, 0);
  scratch.next.assign(rows + 1, 0);
  int64_t* next = scratch.next.data();
  Out* from = scratch.sources.data();
  if (size) std::memcpy(from, sources, size * sizeof(Out));
  for (int64_t i = 0; i < size; ++i) next[locals[i] + 1]++;
  for (int64_t row = 0; row < rows; ++row) {
    indptr[row] = begin + next[row];
    next[row + 1] += next[row];
  }
  for (int64_t i = 0; i < size; ++i) sources[next[locals[i]]++] = from[i];
  sort_rows(sources, 0, next, rows);
}

// The least memory: sources are partitioned where they will stay, and only their local
// destinations (two bytes up to 2^27 nodes) are kept beside them. Fresh pages are what a large
// build pays for most.
template <class Local, class Node, class Out>
void build_by_buckets(const Node* src, const Node* dst, int64_t size, int64_t num_nodes,
                      int64_t* indptr, Out* indices, int threads) {
  const Shares shares = count_buckets(dst, size, num_nodes, threads);
  const auto locals = split_edges<Local>(src, dst, size, num_nodes, shares, indices, threads);
  const auto order = fullest_first(shares.start);
  const int64_t width = int64_t(1) << shares.shift;
  indptr[num_nodes] = size;
  std::atomic<int64_t> turn{0};
  run_threads(threads, [&](int) {
    RowScratch<Out> scratch;
    for (int64_t i; (i = turn.fetch_add(1)) < int64_t(order.size());) {
      const int64_t b = order[i], low = b * width, begin = shares.start[b];
      finish_bucket(indices + begin, locals.data() + begin, begin, shares.start[b + 1] - begin,
                    indptr + low, std::min(num_nodes - low, width), scratch);
    }
  });
}

template <class Node, class Out>
void build_csc(const Node* src, const Node* dst, int64_t size, int64_t num_nodes, int64_t* indptr,
               Out* indices, int threads) {
  threads = int(std::clamp<int64_t>(size / 65536, 1, threads));
  const auto build = local_bits(num_nodes) <= 16 ? build_by_buckets<uint16_t, Node, Out>
                                                 : build_by_buckets<uint32_t, Node, Out>;
  build(src, dst, size, num_nodes, indptr, indices, threads);
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
  const auto positions = [](int64_t) { return [](int64_t i) { return i; }; };
  const auto buckets = partition(dst, size, num_nodes, bits_for(size), positions, threads);
  auto before = [&](int64_t a, int64_t b) {
    if (keys.type && keys.type[a] != keys.type[b]) return keys.type[a] < keys.type[b];
    if (keys.time && keys.time[a] != keys.time[b]) return keys.time[a] < keys.time[b];
    if (src[a] != src[b]) return src[a] < src[b];
    if (keys.weight && keys.weight[a] != keys.weight[b]) return keys.weight[a] < keys.weight[b];
    return a < b;
  };
  finish_rows(buckets, num_nodes, indptr, order, threads,
              [&](int64_t* edges, int64_t begin, const int64_t* ends, int64_t rows) {
                for (int64_t row = 0; row < rows; begin = ends[row++])
                  std::sort(edges + begin, edges + ends[row], before);
              });
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

}  // namespace gnn
