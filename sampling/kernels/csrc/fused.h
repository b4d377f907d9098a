// The outermost hop without its neighbors: every node of the frontier draws its neighbors and
// reduces their rows at once, tile by tile, so that nothing is relabeled and no gathered matrix
// exists.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "rows.h"
#include "sampler.h"

namespace gnn {

// A hop, and the reduction of the rows of `x` over its edges.
template <class Node>
struct FusedHop {
  Csc<Node> graph;
  int64_t fanout;
  uint64_t layer_key;
  Rows x;                    // a row per node
  const float* node_weight;  // (num_nodes,): factor of every row, or null
  Reduce reduce;             // kSum or kMean
};

// Scratch of one thread.
struct FusedTile {
  static constexpr int64_t kNodes = 256;
  Picks picks;
  Buffer<int64_t> offsets{kNodes + 1};
  Buffer<float> weight;

  // The factor of every edge.
  template <class Node>
  const float* weigh(const float* node_weight) {
    if (!node_weight) return nullptr;
    constexpr int64_t kAhead = 32;
    const Node* neighbors = picks.nodes<Node>();
    weight.reserve(picks.size, 0);
    for (int64_t e = 0; e < picks.size; ++e) {
      if (e + kAhead < picks.size) __builtin_prefetch(node_weight + neighbors[e + kAhead]);
      weight[e] = node_weight[neighbors[e]];
    }
    return weight.data();
  }
};

// counts[i] edges are drawn for nodes[i], and out (size, columns) is the reduction over them.
template <class Node>
void sample_aggregate(const FusedHop<Node>& hop, const int64_t* nodes, int64_t size,
                      int64_t* counts, float* out, int threads) {
  threads = int(std::clamp<int64_t>(size / FusedTile::kNodes, 1, threads));
  const auto& kernels = best_row_kernels();
  std::atomic<int64_t> next{0};
  run_threads(threads, [&](int) {
    FusedTile tile;
    for (int64_t begin; (begin = next.fetch_add(FusedTile::kNodes)) < size;) {
      const int64_t rows = std::min(size - begin, FusedTile::kNodes);
      draw_neighbors(hop.graph, nodes + begin, rows, hop.fanout, hop.layer_key, false,
                     counts + begin, tile.picks);
      tile.offsets[0] = 0;
      for (int64_t i = 0; i < rows; ++i) tile.offsets[i + 1] = tile.offsets[i] + counts[begin + i];
      const Aggregation job{tile.offsets.data(), tile.picks.nodes<Node>(), sizeof(Node) == 8,
                            tile.weigh<Node>(hop.node_weight), hop.reduce,
                            out + begin * hop.x.columns, nullptr};
      kernels.aggregate(hop.x, job, 0, rows);
    }
  });
}

}  // namespace gnn
