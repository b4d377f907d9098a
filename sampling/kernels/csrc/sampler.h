// Uniform neighbor sampling without replacement, and relabeling.
//
// Picks are Floyd's (Bentley and Floyd, CACM 1987), exact in every branch: a 64-bit word is the
// set for degrees up to 64, a linear scan up to 64 picks, a hash set beyond. A block of frontier
// nodes goes through three stages (offsets, picks, neighbors), and each stage prefetches what the
// next one reads, so that the misses of a block overlap. Several threads draw chunks of the
// frontier while one relabels the chunks in order, which is what keeps the result the same.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "memory.h"
#include "parallel.h"
#include "random.h"

namespace gnn {

constexpr int64_t kLinearLimit = 64;
constexpr int64_t kParallelFrom = 512;  // frontier nodes that are worth a thread
constexpr int64_t kChunkNodes = 1024;   // frontier nodes drawn at a time

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

// The edges drawn for a run of frontier nodes by one thread. Positions are kept for a block of
// nodes only, unless the caller wants the edge ids.
struct Picks {
  Buffer<int64_t> edges;      // positions in `indices`
  Buffer<uint64_t> neighbor;  // the neighbors there, as the graph's own integers
  int64_t size = 0;
  PickSet set;

  template <class Node>
  Node* nodes() { return reinterpret_cast<Node*>(neighbor.data()); }
};

// Draw for nodes[begin … end); counts[i + 1] becomes the number drawn for node i.
template <class Node>
void draw_neighbors(const int64_t* indptr, const Node* indices, const int64_t* nodes, int64_t begin,
                    int64_t end, int64_t fanout, uint64_t layer_key, int64_t* counts,
                    bool keep_edges, Picks& out) {
  constexpr int64_t kBlock = 32;
  int64_t drawn = 0, read = 0;  // edges drawn so far, and those whose neighbor has been read
  // Without edge ids, positions share one place: a block's, and those of the block before it.
  int64_t edges_base = 0;
  auto prefetch_offsets = [&](int64_t from) {
    for (int64_t i = from; i < std::min(end, from + kBlock); ++i) __builtin_prefetch(indptr + nodes[i]);
  };
  auto read_neighbors = [&](int64_t until) {
    const int64_t* edges = out.edges.data() - edges_base;
    Node* neighbors = out.nodes<Node>();
    for (; read < until; ++read) neighbors[read] = indices[edges[read]];
  };
  prefetch_offsets(begin);
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t last = std::min(end, block + kBlock), before = drawn;
    prefetch_offsets(last);
    int64_t room = 0;
    for (int64_t i = block; i < last; ++i) {
      int64_t degree = indptr[nodes[i] + 1] - indptr[nodes[i]];
      room += counts[i + 1] = fanout < 0 ? degree : std::min(degree, fanout);
    }
    if (!keep_edges && read > edges_base) {  // move the block before to the front
      std::memmove(out.edges.data(), out.edges.data() + (read - edges_base),
                   (drawn - read) * sizeof(int64_t));
      edges_base = read;
    }
    out.edges.reserve(drawn - edges_base + room, drawn - edges_base);
    out.neighbor.reserve((drawn + room) * sizeof(Node) / 8 + 1, (read * sizeof(Node) + 7) / 8);
    for (int64_t i = block; i < last; ++i) {
      const int64_t v = nodes[i], start = indptr[v];
      int64_t* edges = out.edges.data() + (drawn - edges_base);
      const int64_t count = pick(start, indptr[v + 1] - start, fanout,
                                 stream_key(layer_key, uint64_t(v)), edges, out.set);
      for (int64_t j = 0; j < count; ++j) __builtin_prefetch(indices + edges[j]);
      drawn += count;
    }
    read_neighbors(before);  // of the block before: its lines have had time to arrive
  }
  read_neighbors(drawn);
  out.size = drawn;
}

// A frontier drawn in chunks: `claim` hands out the next one to any thread, `take` gives them to
// one thread in order, drawing itself rather than waiting idle.
template <class Node>
class Drawing {
 public:
  Drawing(const int64_t* indptr, const Node* indices, const int64_t* nodes, int64_t size,
          int64_t fanout, uint64_t key, bool keep_edges, int64_t* counts, std::vector<Picks>& picks)
      : indptr_(indptr), indices_(indices), nodes_(nodes), size_(size), fanout_(fanout), key_(key),
        keep_edges_(keep_edges), counts_(counts), picks_(picks),
        chunks_((size + kChunkNodes - 1) / kChunkNodes), ready_(chunks_) {
    if (int64_t(picks_.size()) < chunks_) picks_.resize(chunks_);
  }

  int64_t chunks() const { return chunks_; }
  std::pair<int64_t, int64_t> rows(int64_t chunk) const {
    return {chunk * kChunkNodes, std::min(size_, (chunk + 1) * kChunkNodes)};
  }

  // Draw one more chunk; false when there is none left.
  bool claim() {
    const int64_t chunk = next_.fetch_add(1);
    if (chunk >= chunks_) return false;
    try {
      auto [begin, end] = rows(chunk);
      draw_neighbors(indptr_, indices_, nodes_, begin, end, fanout_, key_, counts_, keep_edges_,
                     picks_[chunk]);
    } catch (...) {
      failed_ = true;
      throw;
    }
    ready_[chunk].store(true, std::memory_order_release);
    return true;
  }

  // The edges of a chunk; null when another thread failed.
  Picks* take(int64_t chunk) {
    while (!ready_[chunk].load(std::memory_order_acquire)) {
      if (failed_) return nullptr;
      if (!claim()) std::this_thread::yield();
    }
    return &picks_[chunk];
  }

 private:
  const int64_t* indptr_;
  const Node* indices_;
  const int64_t* nodes_;
  int64_t size_, fanout_;
  uint64_t key_;
  bool keep_edges_;
  int64_t* counts_;
  std::vector<Picks>& picks_;
  int64_t chunks_;
  std::vector<std::atomic<bool>> ready_;
  std::atomic<int64_t> next_{0};
  std::atomic<bool> failed_{false};
};

// Draw for a whole frontier and hand its chunks, in order, to consume(first row, last row, picks);
// counts[i + 1] is the number drawn for node i by then.
template <class Node, class Consume>
void draw_frontier(Drawing<Node>& drawing, int64_t size, int threads, const Consume& consume) {
  threads = int(std::clamp<int64_t>(size / kParallelFrom, 1, threads));
  run_threads(threads, [&](int t) {
    if (t > 0) {
      while (drawing.claim()) {
      }
      return;
    }
    for (int64_t chunk = 0; chunk < drawing.chunks(); ++chunk) {
      Picks* picks = drawing.take(chunk);
      if (!picks) return;
      auto [begin, end] = drawing.rows(chunk);
      consume(begin, end, *picks);
    }
  });
}

// Slots of the table below: eight bytes while nodes fit 32 bits and places 24, else sixteen.
struct NarrowSlot {
  static constexpr uint64_t kLastEpoch = 255;
  static constexpr int64_t kPlaces = int64_t(1) << 24;
  uint64_t word = 0;

  static NarrowSlot make(int64_t node, int64_t place, uint64_t epoch) {
    return {uint64_t(node) << 32 | epoch << 24 | uint64_t(place)};
  }
  uint64_t epoch() const { return word >> 24 & 255; }
  int64_t node() const { return int64_t(word >> 32); }
  int64_t place() const { return int64_t(word & 0xFFFFFF); }
};

struct WideSlot {
  static constexpr uint64_t kLastEpoch = UINT32_MAX;
  static constexpr int64_t kPlaces = int64_t(1) << 31;
  int64_t key = 0;
  uint32_t at = 0, written = 0;

  static WideSlot make(int64_t node, int64_t place, uint64_t epoch) {
    return {node, uint32_t(place), uint32_t(epoch)};
  }
  uint64_t epoch() const { return written; }
  int64_t node() const { return key; }
  int64_t place() const { return at; }
};

// Node → place in the batch, by open addressing. Slots carry the epoch that wrote them, so a new
// batch clears nothing.
template <class Slot>
class RelabelTable {
 public:
  void begin() {
    if (epoch_++ == Slot::kLastEpoch) clear();
  }
  // Room for `places` nodes in all; the nodes placed so far are put back in.
  void reserve(int64_t places, const int64_t* nodes, int64_t placed) {
    if (int64_t(slots_.size()) * 2 >= places * 3) return;
    bits_ = 10;
    while ((int64_t(1) << bits_) * 2 < places * 3) ++bits_;
    slots_ = Buffer<Slot>(size_t(1) << bits_, kHugeScratch);
    clear();
    for (int64_t i = 0; i < placed; ++i) place(nodes[i], i);
  }
  void prefetch(int64_t node) const { __builtin_prefetch(slots_.data() + home(node), 1); }
  // The place of `node`, which is `fresh` when it was not there yet.
  int64_t place(int64_t node, int64_t fresh) {
    const size_t mask = slots_.size() - 1;
    for (size_t i = home(node);; i = (i + 1) & mask) {
      const Slot slot = slots_[i];
      if (slot.epoch() != epoch_) {
        slots_[i] = Slot::make(node, fresh, epoch_);
        return fresh;
      }
      if (slot.node() == node) return slot.place();
    }
  }

 private:
  size_t home(int64_t node) const { return (uint64_t(node) * kGolden) >> (64 - bits_); }
  void clear() {
    std::fill_n(slots_.data(), slots_.size(), Slot{});
    epoch_ = 1;
  }

  Buffer<Slot> slots_;
  int bits_ = 0;
  uint64_t epoch_ = 0;
};

// Scratch memory of one sampling thread of control; grows, and is reused from batch to batch.
struct Workspace {
  RelabelTable<NarrowSlot> narrow;
  RelabelTable<WideSlot> wide;
  bool is_wide = false;
  std::vector<Picks> picks;
  Buffer<int64_t> nodes, frontier;
  int64_t num_nodes = 0;

  // `node_bits`: bits that every node id of the graph fits.
  void start(const int64_t* seeds, int64_t size, int node_bits) {
    is_wide = node_bits > 32 || size > NarrowSlot::kPlaces;
    nodes.reserve(size, 0);
    if (size) std::memcpy(nodes.data(), seeds, size * sizeof(int64_t));
    with_table([&](auto& table) {
      table.begin();
      table.reserve(size, nodes.data(), 0);
      for (int64_t i = 0; i < size; ++i) table.place(seeds[i], i);
    });
    num_nodes = size;
  }

  void make_room(int64_t neighbors) {
    const int64_t most = num_nodes + neighbors;
    if (most > WideSlot::kPlaces) throw std::length_error("a batch of more than 2^31 nodes: use fewer seeds");
    nodes.reserve(most, num_nodes);
    if (!is_wide && most > NarrowSlot::kPlaces) {
      is_wide = true;
      wide.begin();
      wide.reserve(most, nodes.data(), 0);
      for (int64_t i = 0; i < num_nodes; ++i) wide.place(nodes[i], i);
    }
    with_table([&](auto& table) { table.reserve(most, nodes.data(), num_nodes); });
  }

  template <class Neighbor>
  void relabel(const Neighbor* neighbors, int64_t size, int32_t* local) {
    with_table([&](auto& table) {
      constexpr int64_t kAhead = 16;
      int64_t* known = nodes.data();
      int64_t count = num_nodes;
      for (int64_t e = 0; e < size; ++e) {
        if (e + kAhead < size) table.prefetch(neighbors[e + kAhead]);
        const int64_t place = table.place(neighbors[e], count);
        known[count] = neighbors[e];
        count += place == count;
        local[e] = int32_t(place);
      }
      num_nodes = count;
    });
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
Hop sample_hop(Workspace& workspace, const int64_t* indptr, const Node* indices, int64_t fanout,
               uint64_t seed, uint64_t layer, int threads, bool keep_edges) {
  const int64_t frontier = workspace.num_nodes;
  Hop hop;
  hop.offsets = Buffer<int64_t>(frontier + 1);
  hop.offsets[0] = 0;
  if (fanout >= 0 && fanout <= kLinearLimit) hop.reserve(frontier * fanout, keep_edges);
  // The workspace's own list may move while it grows; the frontier that is drawn from may not.
  workspace.frontier.reserve(frontier, 0);
  std::copy_n(workspace.nodes.data(), frontier, workspace.frontier.data());
  Drawing<Node> drawing(indptr, indices, workspace.frontier.data(), frontier, fanout,
                        layer_key(seed, layer), keep_edges, hop.offsets.data(), workspace.picks);
  draw_frontier(drawing, frontier, threads, [&](int64_t begin, int64_t end, Picks& picks) {
    for (int64_t i = begin; i < end; ++i) hop.offsets[i + 1] += hop.offsets[i];
    hop.reserve(hop.num_edges + picks.size, keep_edges);
    workspace.make_room(picks.size);
    workspace.relabel(picks.nodes<Node>(), picks.size, hop.local.data() + hop.num_edges);
    if (keep_edges) std::copy_n(picks.edges.data(), picks.size, hop.edges.data() + hop.num_edges);
    hop.num_edges += picks.size;
  });
  hop.num_src = workspace.num_nodes;
  return hop;
}

}  // namespace gnn
