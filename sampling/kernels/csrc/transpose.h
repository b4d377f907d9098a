// The same edges listed by source.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "csc.h"

namespace gnn {

// Where the transposed adjacency goes: offsets, the destination and the position of every edge.
template <class Node>
struct Transposed {
  int64_t* indptr;
  Node* indices;
  int64_t* order;
};

constexpr int64_t kCacheEdges = 1 << 17;  // up to here counting alone stays in the caches

template <class Node>
void transpose_by_counting(const int64_t* indptr, int64_t rows, const Node* indices,
                           int64_t num_src, const Transposed<Node>& out) {
  const int64_t edges = indptr[rows];
  std::fill(out.indptr, out.indptr + num_src + 1, 0);
  for (int64_t e = 0; e < edges; ++e) out.indptr[indices[e] + 1]++;
  std::partial_sum(out.indptr, out.indptr + num_src + 1, out.indptr);
  std::vector<int64_t> next(out.indptr, out.indptr + num_src);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t e = indptr[row]; e < indptr[row + 1]; ++e) {
      const int64_t place = next[indices[e]]++;
      out.indices[place] = Node(row);
      out.order[place] = e;
    }
}

// Edges in order of position; each knows its row, which it finds by walking along.
struct RowAndEdge {
  const int64_t* indptr;
  int edge_bits;
  int64_t row;

  uint64_t operator()(int64_t e) {
    while (indptr[row + 1] <= e) ++row;
    return uint64_t(row) << edge_bits | uint64_t(e);
  }
};

template <class Node>
void transpose(const int64_t* indptr, int64_t rows, const Node* indices, int64_t num_src,
               const Transposed<Node>& out, int threads) {
  const int64_t edges = indptr[rows];
  const int edge_bits = bits_for(edges), payload_bits = edge_bits + bits_for(rows);
  if (edges <= kCacheEdges || local_bits(num_src) + payload_bits > 64)
    return transpose_by_counting(indptr, rows, indices, num_src, out);
  const auto payloads = [&](int64_t begin) {
    return RowAndEdge{indptr, edge_bits, std::upper_bound(indptr, indptr + rows, begin) - indptr - 1};
  };
  const auto buckets = partition(indices, edges, num_src, payload_bits, payloads, threads);
  const uint64_t edge_mask = (uint64_t(1) << edge_bits) - 1;
  each_bucket(buckets, num_src, out.indptr, threads, [&](const Bucket& bucket) {
    bucket.scatter([&](int64_t place, uint64_t payload) {
      out.indices[place] = Node(payload >> edge_bits);
      out.order[place] = int64_t(payload & edge_mask);
    });
  });
}

}  // namespace gnn
