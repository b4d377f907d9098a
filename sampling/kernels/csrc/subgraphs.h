// Induced subgraphs: every edge between nodes of a set. Several sets go through one call as the
// components of one graph; a node may be in many of them, an edge stays within one.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "checked_graph.h"
#include "memory.h"
#include "node_table.h"
#include "parallel.h"

namespace gnn {

// The rows that one piece of work found.
struct InducedRows {
  std::vector<int32_t> local;
  std::vector<int64_t> edges;
  std::vector<std::pair<int64_t, int64_t>> maybe;  // of the row at hand: key of the source, edge
};

template <class Node>
class InducedSubgraph {
 public:
  // groups: the component of every node; null when there is one.
  InducedSubgraph(const CheckedGraph<Node>& graph, const int64_t* nodes, const int64_t* groups,
                  int64_t size)
      : graph_(graph), nodes_(nodes), groups_(groups), size_(size), table_(size) {
    if (size > std::numeric_limits<int32_t>::max())
      throw std::invalid_argument("a subgraph of 2^31 nodes or more: use fewer nodes");
    for (int64_t i = 0; i < size; ++i)
      if (table_.insert(key(i, nodes[i])) != i)
        throw std::invalid_argument("a node is there twice");
  }

  Buffer<int64_t> offsets, edges;
  Buffer<int32_t> local;

  void extract(int threads) {
    const int64_t pieces = (size_ + kPiece - 1) / kPiece;
    std::vector<InducedRows> found(pieces);
    offsets = Buffer<int64_t>(size_ + 1);
    offsets[0] = 0;
    parallel_pieces(pieces, 1, threads, [&](int64_t p, int64_t) {
      const int64_t end = std::min(size_, (p + 1) * kPiece);
      for (int64_t i = p * kPiece; i < end; ++i) find_row(i, found[p]);
    });
    for (int64_t i = 0; i < size_; ++i) offsets[i + 1] += offsets[i];
    local = Buffer<int32_t>(offsets[size_]);
    edges = Buffer<int64_t>(offsets[size_]);
    parallel_pieces(pieces, 1, threads, [&](int64_t p, int64_t) {
      std::copy(found[p].local.begin(), found[p].local.end(), local.data() + offsets[p * kPiece]);
      std::copy(found[p].edges.begin(), found[p].edges.end(), edges.data() + offsets[p * kPiece]);
    });
  }

 private:
  static constexpr int64_t kPiece = 256, kAhead = 4;

  int64_t key(int64_t row, int64_t node) const {
    return (groups_ ? groups_[row] * int64_t(graph_.num_nodes) : 0) + node;
  }
  // Append the edges of row i whose source is in its component; offsets[i + 1] is their number.
  // Most sources are not, and a small filter tells; the table is asked about the others only.
  void find_row(int64_t i, InducedRows& out) {
    const auto [begin, end] = graph_.row(nodes_[i]);
    if (i + kAhead < size_) graph_.prefetch_row(nodes_[i + kAhead]);
    out.maybe.resize(std::max<size_t>(out.maybe.size(), end - begin));
    int64_t asked = 0;
    for (int64_t edge = begin; edge < end; ++edge) {
      const int64_t wanted = key(i, graph_.source(edge));
      out.maybe[asked] = {wanted, edge};
      asked += table_.may_hold(wanted);
    }
    for (int64_t j = 0; j < asked; ++j) table_.prefetch(out.maybe[j].first);
    const size_t before = out.local.size();
    for (int64_t j = 0; j < asked; ++j) {
      const int64_t place = table_.find(out.maybe[j].first);
      if (place < 0) continue;
      out.local.push_back(int32_t(place));
      out.edges.push_back(out.maybe[j].second);
    }
    offsets[i + 1] = int64_t(out.local.size() - before);
  }

  const CheckedGraph<Node>& graph_;
  const int64_t *nodes_, *groups_;
  int64_t size_;
  NodeTable table_;
};

}  // namespace gnn
