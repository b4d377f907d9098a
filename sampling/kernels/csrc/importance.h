// Importance neighborhoods (PinSAGE; Ying et al., KDD 2018): the nodes that random walks with
// restarts from a node visit most often.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "node_table.h"
#include "walks.h"

namespace gnn {

struct Importance {
  int64_t num_walks, length, top;
  uint64_t restart, seed;
};

// Counts the visits of one node's walks.
class Visits {
 public:
  explicit Visits(int64_t most) : table_(most) {}

  void count(const int64_t* visited, int64_t size, int64_t own) {
    table_.clear();
    counts_.clear();
    for (int64_t j = 0; j < size; ++j) {
      if (visited[j] < 0 || visited[j] == own) continue;
      const size_t place = table_.insert(visited[j]);
      if (place == counts_.size()) counts_.push_back({0, visited[j]});
      --counts_[place].first;
    }
  }
  // Up to `top` nodes and their counts, most visited first, then by node; how many there are.
  int64_t most_visited(int64_t top, int64_t* nodes, int64_t* counts) {
    const int64_t size = std::min<int64_t>(top, counts_.size());
    std::partial_sort(counts_.begin(), counts_.begin() + size, counts_.end());
    for (int64_t j = 0; j < size; ++j) {
      counts[j] = -counts_[j].first;
      nodes[j] = counts_[j].second;
    }
    return size;
  }

 private:
  NodeTable table_;
  std::vector<std::pair<int64_t, int64_t>> counts_;  // minus the count, node: sorts as wanted
};

// Row i of `neighbors` and `counts`, (size, top), for nodes[i]; sizes[i] of it are there.
template <class Node>
void important_neighbors(const CheckedGraph<Node>& graph, const int64_t* nodes, int64_t size,
                         const Importance& how, int threads, int64_t* neighbors, int64_t* counts,
                         int64_t* sizes) {
  const int64_t chunk = std::max<int64_t>(1, kRing / std::max<int64_t>(1, how.num_walks));
  const int64_t width = how.length + 1, per_node = how.num_walks * width;
  parallel_pieces(size, chunk * 4, threads, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> starts(chunk * how.num_walks), walked(chunk * per_node);
    std::vector<uint64_t> keys(starts.size());
    Visits visits(per_node);
    const Walks walks{starts.data(), keys.data(), how.length, walked.data()};
    for (int64_t first = begin; first < end; first += chunk) {
      const int64_t last = std::min(end, first + chunk), rows = (last - first) * how.num_walks;
      for (int64_t r = 0; r < rows; ++r) {
        starts[r] = nodes[first + r / how.num_walks];
        keys[r] = walk_key(how.seed, r % how.num_walks, starts[r]);
      }
      for (int64_t r = 0; r < rows; r += kRing)
        walk_ring(graph, walks, how.restart, r, std::min(rows, r + kRing));
      for (int64_t i = first; i < last; ++i) {
        visits.count(walked.data() + (i - first) * per_node, per_node, nodes[i]);
        sizes[i] = visits.most_visited(how.top, neighbors + i * how.top, counts + i * how.top);
      }
    }
  });
}

}  // namespace gnn
