// Size-constrained label propagation (Meyerhenke, Sanders, Schulz, SEA 2014): one node after the
// other joins the label that most of its neighbors have and that has room for it, unless its own
// would be left with too little.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "checked_graph.h"
#include "random.h"

namespace gnn {

template <class Node>
class LabelPropagation {
 public:
  // weights: of every node; labels: of every node, -1 for none yet, changed in place; load: the
  // weight that each label carries.
  LabelPropagation(const CheckedGraph<Node>& graph, const int64_t* weights, int64_t* labels,
                   int64_t num_labels, int64_t least, int64_t capacity, uint64_t seed)
      : graph_(graph), weights_(weights), labels_(labels), least_(least), capacity_(capacity),
        seed_(seed), load_(num_labels), votes_(num_labels) {
    for (uint64_t v = 0; v < graph.num_nodes; ++v)
      if (labels[v] >= 0) load_[labels[v]] += weights[v];
  }

  void visit(int64_t node) {
    int64_t& own = labels_[node];
    if (own >= 0 && load_[own] - weights_[node] < least_) return;
    count_votes(node);
    if (own >= 0) {
      load_[own] -= weights_[node];
      if (votes_[own] == 0) voted_.push_back(own);  // staying is a choice, even without a vote
    }
    own = best(node);
    load_[own] += weights_[node];
    for (int64_t label : voted_) votes_[label] = 0;
    voted_.clear();
  }

 private:
  void count_votes(int64_t node) {
    const auto [begin, end] = graph_.row(node);
    for (int64_t edge = begin; edge < end; ++edge) {
      const int64_t neighbor = graph_.source(edge), label = labels_[neighbor];
      if (neighbor == node || label < 0) continue;
      if (votes_[label]++ == 0) voted_.push_back(label);
    }
  }
  // The most voted label with room, equals by staying and then by hash; the lightest label when
  // none has room.
  int64_t best(int64_t node) const {
    int64_t found = -1;
    for (int64_t label : voted_) {
      if (load_[label] + weights_[node] > capacity_) continue;
      if (found < 0 || rank(label, labels_[node]) > rank(found, labels_[node])) found = label;
    }
    return found >= 0 ? found : std::min_element(load_.begin(), load_.end()) - load_.begin();
  }
  std::pair<int64_t, uint64_t> rank(int64_t label, int64_t own) const {
    return {votes_[label] * 2 + (label == own), mix(seed_ + kGolden * uint64_t(label))};
  }

  const CheckedGraph<Node>& graph_;
  const int64_t* weights_;
  int64_t* labels_;
  int64_t least_, capacity_;
  uint64_t seed_;
  std::vector<int64_t> load_, votes_, voted_;
};

}  // namespace gnn
