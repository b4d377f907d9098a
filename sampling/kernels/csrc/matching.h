// Heavy-edge matching (Karypis, Kumar: A Fast and High Quality Multilevel Scheme for Partitioning
// Irregular Graphs, SIAM J. Sci. Comput. 1998) as the greedy matching by weight (Preis, STACS
// 1999): an edge is taken when it is the best of all free edges at both its ends (Manne, Bisseling
// 2007). Edges are ordered by weight, then by a hash of (seed, edge), so the result is one and the
// same for any number of threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "checked_graph.h"
#include "parallel.h"
#include "random.h"

namespace gnn {

template <class Node>
class HeavyEdgeMatching {
 public:
  // weight: of every edge, or null where all are equal.
  HeavyEdgeMatching(const CheckedGraph<Node>& graph, const float* weight, uint64_t seed)
      : graph_(graph), weight_(weight), seed_(seed), mate_(graph.num_nodes, -1),
        choice_(graph.num_nodes, -1) {}

  // The partner of every node, -1 for none.
  const std::vector<int64_t>& run(int threads) {
    std::vector<int64_t> active(graph_.num_nodes), matched;
    for (size_t v = 0; v < active.size(); ++v) active[v] = int64_t(v);
    ranked_.resize(graph_.num_nodes);
    while (!active.empty()) {
      parallel_pieces(int64_t(active.size()), 256, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) choose(active[i]);
      });
      matched.clear();
      for (int64_t node : active) match(node, matched);
      active.clear();
      for (int64_t node : matched) wake(node, active);
    }
    return mate_;
  }

 private:
  using Rank = std::tuple<float, uint64_t, int64_t, int64_t>;

  Rank rank(int64_t node, int64_t edge) const {
    const int64_t other = graph_.source(edge);
    const int64_t low = std::min(node, other), high = std::max(node, other);
    const uint64_t hash = mix(mix(seed_ + kGolden * uint64_t(low + 1)) + kGolden * uint64_t(high + 1));
    return {weight_ ? weight_[edge] : 1.0f, hash, low, high};
  }
  bool is_free(int64_t node, int64_t edge) const {
    const int64_t other = graph_.source(edge);
    return other != node && mate_[other] < 0;
  }

  // The best free neighbor. The first time all are looked at; a node whose choice is taken has its
  // free edges sorted once, so that a hub that loses again and again is not looked through again.
  void choose(int64_t node) {
    Choices& row = ranked_[node];
    if (row.times++ == 0) {
      const auto [begin, end] = graph_.row(node);
      int64_t best = -1;
      for (int64_t edge = begin; edge < end; ++edge)
        if (is_free(node, edge) && (best < 0 || rank(node, edge) > rank(node, best))) best = edge;
      choice_[node] = best < 0 ? -1 : graph_.source(best);
      return;
    }
    if (row.times == 2) sort(node, row);
    while (row.next < row.edges.size() && !is_free(node, row.edges[row.next])) ++row.next;
    choice_[node] = row.next < row.edges.size() ? graph_.source(row.edges[row.next]) : -1;
  }

  // Nodes wake in `wake` only while they are free, and a matched node never becomes free.
  void match(int64_t node, std::vector<int64_t>& matched) {
    const int64_t other = choice_[node];
    if (mate_[node] >= 0 || other < 0 || mate_[other] >= 0 || choice_[other] != node) return;
    mate_[node] = other;
    mate_[other] = node;
    matched.push_back(node);
    matched.push_back(other);
  }

  // Free neighbors whose choice this node was must choose again.
  void wake(int64_t node, std::vector<int64_t>& active) {
    const auto [begin, end] = graph_.row(node);
    for (int64_t edge = begin; edge < end; ++edge) {
      const int64_t other = graph_.source(edge);
      if (mate_[other] >= 0 || choice_[other] != node) continue;
      choice_[other] = -1;  // once, whatever the number of parallel edges
      active.push_back(other);
    }
  }

  struct Choices {
    int64_t times = 0;
    size_t next = 0;
    std::vector<int64_t> edges;
  };

  void sort(int64_t node, Choices& row) {
    const auto [begin, end] = graph_.row(node);
    std::vector<std::pair<Rank, int64_t>> ranked;
    for (int64_t edge = begin; edge < end; ++edge)
      if (is_free(node, edge)) ranked.emplace_back(rank(node, edge), edge);
    std::sort(ranked.rbegin(), ranked.rend());
    for (const auto& entry : ranked) row.edges.push_back(entry.second);
  }

  const CheckedGraph<Node>& graph_;
  const float* weight_;
  uint64_t seed_;
  std::vector<int64_t> mate_, choice_;
  std::vector<Choices> ranked_;
};

// Number the clusters of a matching in the order of their first nodes.
inline void number_clusters(const std::vector<int64_t>& mate, int64_t* cluster) {
  int64_t next = 0;
  for (int64_t v = 0; v < int64_t(mate.size()); ++v)
    cluster[v] = mate[v] >= 0 && mate[v] < v ? cluster[mate[v]] : next++;
}

}  // namespace gnn
