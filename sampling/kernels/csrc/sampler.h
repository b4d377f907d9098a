// Uniform neighbor sampling without replacement, and relabeling.
//
// Picks are Floyd's (Bentley and Floyd, CACM 1987), exact in every branch: a 64-bit word is the
// set for degrees up to 64, a linear scan up to 64 picks, a hash set beyond. A block of frontier
// nodes goes through three stages (offsets, picks, neighbors), and each stage prefetches what the
// next one reads, so that the misses of a block overlap.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "memory.h"
#include "parallel.h"
#include "random.h"

namespace gnn {

constexpr int64_t kLinearLimit = 64;
constexpr int64_t kParallelFrom = 512;  // frontier nodes that are worth a thread

// Picks that are too many for a linear scan.
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

// Write the positions start + (fanout of degree picks); returns how many.
inline int64_t pick(int64_t start, int64_t degree, int64_t fanout, uint64_t key, int64_t* out,
                    PickSet& set) {
  if (fanout < 0 || degree <= fanout) {
    for (int64_t j = 0; j < degree; ++j) out[j] = start + j;
    return degree;
  }
  Stream draw(key);
  const int64_t low = degree - fanout;
  if (degree <= kLinearLimit) {
    uint64_t chosen = 0;
    for (int64_t j = 0; j < fanout; ++j) {
      uint64_t top = low + j, x = draw(j, top + 1);
      if (chosen >> x & 1) x = top;
      chosen |= uint64_t(1) << x;
    }
    for (; chosen; chosen &= chosen - 1) *out++ = start + __builtin_ctzll(chosen);
  } else if (fanout <= kLinearLimit) {
    for (int64_t j = 0; j < fanout; ++j) {
      int64_t x = start + int64_t(draw(j, low + j + 1));
      bool seen = false;
      for (int64_t i = 0; i < j; ++i) seen |= out[i] == x;
      out[j] = seen ? start + low + j : x;
    }
  } else {
    set.clear(fanout);
    for (int64_t j = 0; j < fanout; ++j) {
      uint64_t x = draw(j, low + j + 1);
      if (!set.insert(x)) set.insert(x = low + j);
      out[j] = start + int64_t(x);
    }
  }
  return fanout;
}

// The edges drawn for a run of frontier nodes by one thread.
struct Picks {
  Buffer<int64_t> edges;  // positions in `indices`
  Buffer<int64_t> nodes;  // the neighbors there
  int64_t size = 0;
  PickSet set;

  void reserve(int64_t more) {
    if (size + more <= int64_t(edges.size())) return;
    grow(edges, size + more);
    grow(nodes, size + more);
  }

 private:
  void grow(Buffer<int64_t>& buffer, int64_t wanted) {
    Buffer<int64_t> larger(wanted + wanted / 2);
    if (size) std::memcpy(larger.data(), buffer.data(), size * sizeof(int64_t));
    buffer = std::move(larger);
  }
};

// Draw for nodes[begin … end); counts[i + 1] becomes the number drawn for node i.
template <class Node>
void draw_neighbors(const int64_t* indptr, const Node* indices, const int64_t* nodes, int64_t begin,
                    int64_t end, int64_t fanout, uint64_t layer_key, int64_t* counts, Picks& out) {
  constexpr int64_t kBlock = 32;
  out.size = 0;
  int64_t read = 0;  // edges whose neighbor has been read
  auto read_neighbors = [&](int64_t until) {
    int64_t* edges = out.edges.data();
    int64_t* neighbors = out.nodes.data();
    for (; read < until; ++read) neighbors[read] = indices[edges[read]];
  };
  for (int64_t i = begin; i < std::min(end, begin + kBlock); ++i) __builtin_prefetch(indptr + nodes[i]);
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t last = std::min(end, block + kBlock), drawn = out.size;
    for (int64_t i = last; i < std::min(end, last + kBlock); ++i) __builtin_prefetch(indptr + nodes[i]);
    int64_t room = 0;
    for (int64_t i = block; i < last; ++i) {
      int64_t degree = indptr[nodes[i] + 1] - indptr[nodes[i]];
      room += counts[i + 1] = fanout < 0 ? degree : std::min(degree, fanout);
    }
    out.reserve(room);
    for (int64_t i = block; i < last; ++i) {
      const int64_t v = nodes[i], start = indptr[v];
      int64_t* edges = out.edges.data() + out.size;
      int64_t count = pick(start, indptr[v + 1] - start, fanout, stream_key(layer_key, uint64_t(v)),
                           edges, out.set);
      for (int64_t j = 0; j < count; ++j) __builtin_prefetch(indices + edges[j]);
      out.size += count;
    }
    read_neighbors(drawn);  // of the block before: its lines have had time to arrive
  }
  read_neighbors(out.size);
}

// One hop for a whole frontier; offsets becomes the (size + 1,) row offsets of the edges drawn.
template <class Node>
void draw_hop(const int64_t* indptr, const Node* indices, const int64_t* nodes, int64_t size,
              int64_t fanout, uint64_t seed, uint64_t layer, int64_t* offsets,
              std::vector<Picks>& picks, int threads) {
  threads = int(std::clamp<int64_t>(size / kParallelFrom, 1, threads));
  if (int(picks.size()) < threads) picks.resize(threads);
  for (auto& share_of : picks) share_of.size = 0;
  const uint64_t key = layer_key(seed, layer);
  run_threads(threads, [&](int t) {
    auto [begin, end] = share(size, t, threads);
    draw_neighbors(indptr, indices, nodes, begin, end, fanout, key, offsets, picks[t]);
  });
  offsets[0] = 0;
  for (int64_t i = 0; i < size; ++i) offsets[i + 1] += offsets[i];
}

// Node → place in the batch, by open addressing. Slots carry the epoch that wrote them, so a new
// batch clears nothing.
class RelabelTable {
 public:
  void begin() {
    if (++epoch_ == 0) {
      std::fill(slots_.begin(), slots_.end(), Slot{});
      epoch_ = 1;
    }
  }
  // Room for `places` nodes in all; the nodes placed so far are put back in.
  void reserve(int64_t places, const int64_t* nodes, int64_t placed) {
    if (int64_t(slots_.size()) >= places * 2) return;
    bits_ = 10;
    while ((int64_t(1) << bits_) < places * 2) ++bits_;
    slots_.assign(size_t(1) << bits_, Slot{});
    epoch_ = 1;
    for (int64_t i = 0; i < placed; ++i) place(nodes[i], i);
  }
  void prefetch(int64_t node) const { __builtin_prefetch(&slots_[home(node)], 1); }
  // The place of `node`, which is `fresh` when it was not there yet.
  int64_t place(int64_t node, int64_t fresh) {
    const size_t mask = slots_.size() - 1;
    for (size_t i = home(node);; i = (i + 1) & mask) {
      Slot& slot = slots_[i];
      if (slot.epoch != epoch_) {
        slot = {node, uint32_t(fresh), epoch_};
        return fresh;
      }
      if (slot.node == node) return slot.place;
    }
  }

 private:
  struct Slot {
    int64_t node = 0;
    uint32_t place = 0, epoch = 0;
  };
  size_t home(int64_t node) const { return (uint64_t(node) * kGolden) >> (64 - bits_); }

  std::vector<Slot> slots_;
  int bits_ = 0;
  uint32_t epoch_ = 0;
};

// Scratch memory of one sampling thread of control; grows, and is reused from batch to batch.
struct Workspace {
  RelabelTable table;
  std::vector<Picks> picks;
  Buffer<int64_t> nodes;
  int64_t num_nodes = 0;

  void start(const int64_t* seeds, int64_t size) {
    table.begin();
    nodes.reserve(size);
    if (size) std::memcpy(nodes.data(), seeds, size * sizeof(int64_t));
    table.reserve(size, nodes.data(), 0);
    for (int64_t i = 0; i < size; ++i) table.place(seeds[i], i);
    num_nodes = size;
  }

  void make_room(int64_t neighbors) {
    const int64_t most = num_nodes + neighbors;
    if (most > INT32_MAX) throw std::length_error("a batch of more than 2^31 nodes: use fewer seeds");
    if (most > int64_t(nodes.size())) {
      Buffer<int64_t> larger(most + most / 2);
      if (num_nodes) std::memcpy(larger.data(), nodes.data(), num_nodes * sizeof(int64_t));
      nodes = std::move(larger);
    }
    table.reserve(most, nodes.data(), num_nodes);
  }

  template <class Neighbor>
  void relabel(const Neighbor* neighbors, int64_t size, int32_t* local) {
    constexpr int64_t kAhead = 16;
    int64_t* known = nodes.data();
    for (int64_t e = 0; e < size; ++e) {
      if (e + kAhead < size) table.prefetch(neighbors[e + kAhead]);
      const int64_t place = table.place(neighbors[e], num_nodes);
      if (place == num_nodes) known[num_nodes++] = neighbors[e];
      local[e] = int32_t(place);
    }
  }
};

}  // namespace gnn
