// An adjacency whose every read is checked, for kernels that go where its columns say: a damaged
// graph raises an error and reads nothing outside.
#pragma once
#include <algorithm>
#include <cstdint>
#include <stdexcept>

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
  bool has_edge(int64_t from, int64_t into) const {
    if (degree(into) <= 0) return false;
    const Node *first = indices + edge(into, 0), *last = indices + edge(into, degree(into) - 1) + 1;
    return sorted_rows ? std::binary_search(first, last, Node(from))
                       : std::find(first, last, Node(from)) != last;
  }
};

}  // namespace gnn
