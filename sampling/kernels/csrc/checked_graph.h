// An adjacency whose every read is checked, for kernels that go where its columns say: a damaged
// graph raises an error and reads nothing outside.
#pragma once
#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <utility>

namespace gnn {

template <class Node>
struct CheckedGraph {
  const int64_t* indptr;
  const Node* indices;
  uint64_t num_nodes, num_edges;
  bool sorted_rows;  // by source alone, so that an edge is found by bisection

  int64_t degree(int64_t node) const { return indptr[node + 1] - indptr[node]; }
  int64_t edge(int64_t node, uint64_t place) const {
    const uint64_t edge = uint64_t(indptr[node]) + place;
    if (edge >= num_edges) throw std::invalid_argument("indptr leads outside indices");
    return int64_t(edge);
  }
  int64_t source(int64_t edge) const {
    const int64_t node = indices[edge];
    if (uint64_t(node) >= num_nodes) throw std::invalid_argument("a node is outside the graph");
    return node;
  }
  // The first edge into a node, and one past the last.
  std::pair<int64_t, int64_t> row(int64_t node) const {
    const int64_t size = degree(node);
    if (size <= 0) return {0, 0};
    return {edge(node, 0), edge(node, size - 1) + 1};
  }
  void prefetch_row(int64_t node) const { __builtin_prefetch(indices + indptr[node]); }
  bool has_edge(int64_t from, int64_t into) const {
    const auto [begin, end] = row(into);
    const Node *first = indices + begin, *last = indices + end;
    return sorted_rows ? std::binary_search(first, last, Node(from))
                       : std::find(first, last, Node(from)) != last;
  }
};

}  // namespace gnn
