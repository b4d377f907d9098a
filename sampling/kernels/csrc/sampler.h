// Uniform neighbor sampling without replacement, and relabeling.
//
// Several threads draw chunks of the frontier while one relabels the chunks in order, which is what
// keeps the result the same under any number of threads. The inner loops are in draw.cpp; here is
// who draws what when, and what is too rare to be compiled per instruction set.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "draw.h"
#include "in_order.h"
#include "memory.h"
#include "parallel.h"
#include "random.h"

namespace gnn {

constexpr int64_t kParallelFrom = 2048;  // frontier nodes that are worth starting a thread for
constexpr int64_t kChunkNodes = 1024;   // frontier nodes drawn at a time

// Picks that are too many for a scan.
class PickSet {
 public:
  void clear(int64_t picks) {
    size_t wanted = 64;
    while (wanted < size_t(picks) * 2) wanted *= 2;
    slots_.assign(wanted, kEmpty);
  }
  bool insert(uint64_t value) {
    size_t mask = slots_.size() - 1, i = mix(value) & mask;
    for (; slots_[i] != kEmpty; i = (i + 1) & mask)
      if (slots_[i] == value) return false;
    slots_[i] = value;
    return true;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t(0);
  std::vector<uint64_t> slots_;
};

// Write `fanout` of the positions start … start + degree - 1 (Floyd), for degree > fanout.
inline void pick_many(int64_t start, int64_t degree, int64_t fanout, uint64_t key, int64_t* out,
                      PickSet& set) {
  Stream draw(key);
  set.clear(fanout);
  for (int64_t j = 0, low = degree - fanout; j < fanout; ++j) {
    uint64_t x = draw(j, low + j + 1);
    if (!set.insert(x)) set.insert(x = low + j);
    out[j] = start + int64_t(x);
  }
}

// The neighbors drawn for a run of frontier nodes.
struct Picks {
  Buffer<int64_t> edges;      // positions in `indices`, when somebody asked for them
  Buffer<uint64_t> neighbor;  // the neighbors there, as the graph's own integers
  int64_t size = 0;
  PickSet set;

  template <class Node>
  Node* nodes() { return reinterpret_cast<Node*>(neighbor.data()); }
  template <class Node>
  void reserve(int64_t wanted, bool with_edges) {
    neighbor.reserve((wanted * sizeof(Node) + 7) / 8, 0);
    if (with_edges) edges.reserve(wanted, 0);
  }
};

// A graph to draw from.
template <class Node>
struct Csc {
  const int64_t* indptr;
  const Node* indices;
  int64_t num_nodes, num_edges;

  static void refuse() { throw std::invalid_argument("a row or a neighbor lies outside the graph"); }
  int64_t degree(int64_t node) const {
    const int64_t start = indptr[node], end = indptr[node + 1];
    if (start < 0 || end < start || end > num_edges) refuse();
    return end - start;
  }
};

// All neighbors of every node (fanout < 0), or more picks than draw.cpp takes.
template <class Node>
void draw_many(const Csc<Node>& graph, const int64_t* nodes, int64_t size, int64_t fanout,
               uint64_t layer_key, int64_t* counts, Picks& out) {
  int64_t total = 0;
  for (int64_t i = 0; i < size; ++i) {
    const int64_t degree = graph.degree(nodes[i]);
    total += counts[i] = fanout < 0 ? degree : std::min(degree, fanout);
  }
  out.reserve<Node>(total, true);
  int64_t* at = out.edges.data();
  for (int64_t i = 0; i < size; at += counts[i++]) {
    const int64_t start = graph.indptr[nodes[i]], degree = graph.degree(nodes[i]);
    if (counts[i] < degree)
      pick_many(start, degree, fanout, stream_key(layer_key, uint64_t(nodes[i])), at, out.set);
    else
      for (int64_t j = 0; j < degree; ++j) at[j] = start + j;
  }
  constexpr int64_t kAhead = 32;
  Node* neighbors = out.nodes<Node>();
  for (int64_t e = 0; e < total; ++e) {
    if (e + kAhead < total) __builtin_prefetch(graph.indices + out.edges[e + kAhead]);
    neighbors[e] = graph.indices[out.edges[e]];
    if (uint64_t(int64_t(neighbors[e])) >= uint64_t(graph.num_nodes)) graph.refuse();
  }
  out.size = total;
}

// Draw for nodes[0 … size); counts[i] is the number drawn for node i.
template <class Node>
void draw_neighbors(const Csc<Node>& graph, const int64_t* nodes, int64_t size,
                    int64_t fanout, uint64_t layer_key, bool keep_edges, int64_t* counts,
                    Picks& out) {
  if (fanout < 0 || fanout > kMostPicks)
    return draw_many(graph, nodes, size, fanout, layer_key, counts, out);
  out.reserve<Node>(size * fanout, keep_edges);
  const Draw job{graph.indptr,    graph.indices, sizeof(Node) == 8, graph.num_nodes,
                 graph.num_edges, fanout,        layer_key};
  out.size = best_draw_kernels().draw(job, nodes, size, counts, out.nodes<Node>(),
                                      keep_edges ? out.edges.data() : nullptr);
  if (out.size < 0) graph.refuse();
}

// Draw for a whole frontier and hand its chunks, in order, to consume(first row, last row, picks);
// counts[i] is the number drawn for node i by then.
template <class Node, class Consume>
void draw_frontier(const Csc<Node>& graph, const int64_t* nodes, int64_t size,
                   int64_t fanout, uint64_t key, bool keep_edges, int64_t* counts, int threads,
                   std::vector<Picks>& picks, const Consume& consume) {
  threads = int(std::clamp<int64_t>(size / kParallelFrom, 1, threads));
  if (picks.empty()) picks.resize(Chunks::kAhead);
  auto rows = [&](int64_t chunk) {
    return std::pair(chunk * kChunkNodes, std::min(size, (chunk + 1) * kChunkNodes));
  };
  in_order(
      (size + kChunkNodes - 1) / kChunkNodes, threads,
      [&](int64_t chunk, int64_t slot) {
        auto [begin, end] = rows(chunk);
        draw_neighbors(graph, nodes + begin, end - begin, fanout, key, keep_edges, counts + begin,
                       picks[slot]);
      },
      [&](int64_t chunk, int64_t slot) {
        auto [begin, end] = rows(chunk);
        consume(begin, end, picks[slot]);
      });
}

// Node → place in the batch while nodes fit 32 bits and places 24: the lines of draw.h.
class LineTable {
 public:
  static constexpr int64_t kPlaces = int64_t(1) << 24;

  void begin() {
    if (lines_.epoch++ == kLastEpoch) clear();
  }
  // Room for `places` nodes in all; the nodes placed so far are put back in.
  void reserve(int64_t places, const int64_t* nodes, int64_t placed) {
    if (int64_t(slots_.size()) >= places * 2) return;
    lines_.bits = 7;
    while ((kLineSlots << lines_.bits) < places * 2) ++lines_.bits;
    slots_ = Buffer<uint64_t>(size_t(kLineSlots) << lines_.bits, kHugeScratch);
    lines_.slots = slots_.data();
    clear();
    put(nodes, placed);
  }
  // Node i gets place i, unless it has one.
  void put(const int64_t* nodes, int64_t size) {
    const size_t mask = slots_.size() - 1;
    for (int64_t i = 0; i < size; ++i)
      for (size_t at = lines_.home(nodes[i]) * kLineSlots;; at = (at + 1) & mask) {
        const bool free = (slots_[at] >> 24 & 255) != lines_.epoch;
        if (free) slots_[at] = uint64_t(nodes[i]) << 32 | lines_.epoch << 24 | uint64_t(i);
        if (free || slots_[at] >> 32 == uint64_t(nodes[i])) break;
      }
  }
  // The place of every neighbor; new ones are appended to known[count …]. Returns the new count.
  template <class Node>
  int64_t relabel(const Node* neighbors, int64_t size, int64_t* known, int64_t count,
                  int32_t* local) {
    return best_draw_kernels().relabel(lines_, neighbors, sizeof(Node) == 8, size, known, count,
                                       local);
  }

 private:
  static constexpr uint64_t kLastEpoch = 255;
  void clear() {
    std::fill_n(slots_.data(), slots_.size(), uint64_t(0));
    lines_.epoch = 1;
  }

  Buffer<uint64_t> slots_;
  Lines lines_{nullptr, 0, 0};
};

// The same for any nodes and up to 2^31 places, in slots of sixteen bytes.
class WideTable {
 public:
  static constexpr int64_t kPlaces = int64_t(1) << 31;

  void begin() {
    if (epoch_++ == UINT32_MAX) clear();
  }
  void reserve(int64_t places, const int64_t* nodes, int64_t placed) {
    if (int64_t(slots_.size()) * 2 >= places * 3) return;
    bits_ = 10;
    while ((int64_t(1) << bits_) * 2 < places * 3) ++bits_;
    slots_ = Buffer<Slot>(size_t(1) << bits_, kHugeScratch);
    clear();
    put(nodes, placed);
  }
  void put(const int64_t* nodes, int64_t size) {
    for (int64_t i = 0; i < size; ++i) place(nodes[i], i);
  }
  template <class Node>
  int64_t relabel(const Node* neighbors, int64_t size, int64_t* known, int64_t count,
                  int32_t* local) {
    constexpr int64_t kAhead = 16;
    for (int64_t e = 0; e < size; ++e) {
      if (e + kAhead < size) __builtin_prefetch(slots_.data() + home(neighbors[e + kAhead]), 1);
      known[count] = neighbors[e];
      local[e] = int32_t(place(neighbors[e], count));
      count += local[e] == count;
    }
    return count;
  }

 private:
  struct Slot {
    int64_t node;
    uint32_t place, epoch;
  };
  size_t home(int64_t node) const { return (uint64_t(node) * kGolden) >> (64 - bits_); }
  // The place of `node`, which is `fresh` when it had none.
  int64_t place(int64_t node, int64_t fresh) {
    const size_t mask = slots_.size() - 1;
    for (size_t i = home(node);; i = (i + 1) & mask) {
      const Slot slot = slots_[i];
      if (slot.epoch != epoch_) {
        slots_[i] = {node, uint32_t(fresh), epoch_};
        return fresh;
      }
      if (slot.node == node) return slot.place;
    }
  }
  void clear() {
    std::fill_n(slots_.data(), slots_.size(), Slot{0, 0, 0});
    epoch_ = 1;
  }

  Buffer<Slot> slots_;
  int bits_ = 0;
  uint32_t epoch_ = 0;
};

// Scratch memory of one sampling thread of control; grows, and is reused from batch to batch.
struct Workspace {
  LineTable narrow;
  WideTable wide;
  bool is_wide = false;
  std::vector<Picks> picks;
  Buffer<int64_t> nodes, frontier;
  int64_t num_nodes = 0, last_num_nodes = 0;

  // `node_bits`: bits that every node id of the graph fits.
  void start(const int64_t* seeds, int64_t size, int node_bits) {
    is_wide = node_bits > 32 || size > LineTable::kPlaces;
    nodes.reserve(std::max(size, last_num_nodes), 0);
    if (size) std::memcpy(nodes.data(), seeds, size * sizeof(int64_t));
    with_table([&](auto& table) {
      table.begin();
      table.reserve(size, nodes.data(), 0);
      table.put(seeds, size);
    });
    num_nodes = size;
  }

  void make_room(int64_t neighbors) {
    const int64_t most = num_nodes + neighbors;
    if (most > WideTable::kPlaces)
      throw std::length_error("a batch of more than 2^31 nodes: use fewer seeds");
    nodes.reserve(most, num_nodes);
    if (!is_wide && most > LineTable::kPlaces) {
      is_wide = true;
      wide.begin();
      wide.reserve(most, nodes.data(), 0);
      wide.put(nodes.data(), num_nodes);
    }
    with_table([&](auto& table) { table.reserve(most, nodes.data(), num_nodes); });
  }

  template <class Neighbor>
  void relabel(const Neighbor* neighbors, int64_t size, int32_t* local) {
    with_table([&](auto& table) {
      num_nodes = table.relabel(neighbors, size, nodes.data(), num_nodes, local);
    });
  }

  // The nodes of the batch, `num_nodes` of them, no longer ours.
  Buffer<int64_t> take_nodes() {
    last_num_nodes = num_nodes;
    return std::move(nodes);
  }

 private:
  template <class Work>
  void with_table(const Work& work) {
    if (is_wide) work(wide); else work(narrow);
  }
};

// One hop of a batch.
struct Hop {
  Buffer<int64_t> offsets, edges;  // edges stay empty when nobody asked for them
  Buffer<int32_t> local;
  int64_t num_edges = 0, num_src = 0;

  void reserve(int64_t wanted, bool keep_edges) {
    grow(local, wanted);
    if (keep_edges) grow(edges, wanted);
  }

 private:
  template <class T>
  void grow(Buffer<T>& buffer, int64_t wanted) {
    if (wanted <= int64_t(buffer.size())) return;
    Buffer<T> larger(wanted + wanted / 2);
    if (num_edges) std::memcpy(larger.data(), buffer.data(), num_edges * sizeof(T));
    buffer = std::move(larger);
  }
};

// Draw and relabel the in-neighbors of every node in the workspace, which grows by the new ones.
template <class Node>
Hop sample_hop(Workspace& workspace, const Csc<Node>& graph, int64_t fanout, uint64_t seed,
               uint64_t layer, int threads, bool keep_edges) {
  const int64_t frontier = workspace.num_nodes;
  Hop hop;
  hop.offsets = Buffer<int64_t>(frontier + 1);
  hop.offsets[0] = 0;
  if (fanout >= 0 && fanout <= kMostPicks) hop.reserve(frontier * fanout, keep_edges);
  // The workspace's own list may move while it grows; the frontier that is drawn from may not.
  workspace.frontier.reserve(frontier, 0);
  std::copy_n(workspace.nodes.data(), frontier, workspace.frontier.data());
  auto consume = [&](int64_t begin, int64_t end, Picks& picks) {
    for (int64_t i = begin; i < end; ++i) hop.offsets[i + 1] += hop.offsets[i];
    hop.reserve(hop.num_edges + picks.size, keep_edges);
    workspace.make_room(picks.size);
    workspace.relabel(picks.nodes<Node>(), picks.size, hop.local.data() + hop.num_edges);
    if (keep_edges) std::copy_n(picks.edges.data(), picks.size, hop.edges.data() + hop.num_edges);
    hop.num_edges += picks.size;
  };
  draw_frontier(graph, workspace.frontier.data(), frontier, fanout, layer_key(seed, layer),
                keep_edges, hop.offsets.data() + 1, threads, workspace.picks, consume);
  hop.num_src = workspace.num_nodes;
  return hop;
}

}  // namespace gnn
