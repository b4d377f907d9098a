// Drawing mini-batches by any rule of choice.
//
// A rule says which edges of one row are drawn; the rest is here: the frontier in chunks, drawn by
// several threads and relabeled in order by one. Inside a chunk, blocks of rows go through four
// stages (offsets, rows, choices, neighbors), and each stage prefetches what the next one reads.
//
// A rule has
//   most(row)                         no more positions than this are chosen
//   narrow(rows, count)               may cut a block of rows down to the edges that are eligible
//   look_ahead(row)                   prefetches what choose(row) will read a block of rows later
//   choose(row, positions, scratch)   writes positions in the row, returns how many
#pragma once
#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "in_order.h"
#include "memory.h"
#include "prefetch.h"
#include "random.h"
#include "sampler.h"
#include "subset.h"

namespace gnn {

constexpr int64_t kRowBlock = 32;
constexpr int64_t kChoiceChunk = 256;
constexpr int64_t kWorthAThread = 512;  // frontier entries

// One row that is drawn from. A frontier entry is a node and, in the bits above it, a tag: entries
// of one node with two tags are two entries, and what is drawn for an entry has its tag.
struct Row {
  uint64_t key;  // of the random stream of (seed, layer, node)
  int64_t tag, start, degree;
};

template <class Node>
struct Adjacency {
  const int64_t* indptr;
  const Node* indices;
  int64_t num_nodes, num_edges;
  int node_bits = 62;

  int64_t node(int64_t entry) const { return entry & ((int64_t(1) << node_bits) - 1); }
  int64_t tag(int64_t entry) const { return entry >> node_bits; }

  Row row(int64_t entry, uint64_t layer_key) const {
    const int64_t v = node(entry), start = indptr[v], end = indptr[v + 1];
    if (start < 0 || end < start || end > num_edges) throw std::invalid_argument("indptr falls");
    return {stream_key(layer_key, uint64_t(v)), tag(entry), start, end - start};
  }
};

// A range of positions in a row.
struct Run {
  int64_t begin, end;
};

// What the draw of one chunk works with.
struct Scratch {
  Marks marks;
  std::vector<Run> runs;
  std::vector<double> times, order;
};

// What was drawn for a chunk: positions in `indices`, and the entries there.
struct Drawn {
  Buffer<int64_t> edges, entries;
  int64_t size = 0;
};

struct ChoiceWorkspace {
  Workspace places;
  std::vector<Drawn> chunks;
  std::vector<Scratch> scratch;
  Buffer<int64_t> frontier;
};

template <class Node, class Rule>
class ChunkDraw {
 public:
  ChunkDraw(const Adjacency<Node>& graph, const Rule& rule, uint64_t layer_key,
            const int64_t* frontier, Scratch& scratch, Drawn& out)
      : graph_(graph), rule_(rule), layer_key_(layer_key), frontier_(frontier), scratch_(scratch),
        out_(out) {}

  // Draw for entries begin … end; counts[i + 1] becomes the number drawn for entry i.
  void operator()(int64_t begin, int64_t end, int64_t* counts) {
    out_.size = 0;
    int64_t read = 0;
    end_ = end;
    prefetch_offsets(begin);
    prefetch_offsets(begin + kRowBlock);
    open(begin);
    for (int64_t i = begin; i < last_of(begin); ++i) rule_.look_ahead(rows_of(begin)[i - begin]);
    for (int64_t block = begin; block < end; block += kRowBlock) {
      const int64_t before = out_.size;
      prefetch_offsets(block + 2 * kRowBlock);
      open(block + kRowBlock);
      choose(block, counts);
      read_entries(block - kRowBlock, read, before, counts);  // their lines have had time to arrive
      read = before;
    }
    read_entries(begin + (end - begin - 1) / kRowBlock * kRowBlock, read, out_.size, counts);
  }

 private:
  int64_t last_of(int64_t block) const { return std::min(end_, block + kRowBlock); }
  Row* rows_of(int64_t block) { return rows_[block / kRowBlock % 2]; }

  void prefetch_offsets(int64_t block) const {
    for (int64_t i = block; i < last_of(block); ++i)
      prefetch(graph_.indptr + graph_.node(frontier_[i]));
  }

  void open(int64_t block) {
    Row* rows = rows_of(block);
    for (int64_t i = block; i < last_of(block); ++i)
      rows[i - block] = graph_.row(frontier_[i], layer_key_);
    if (block < end_) rule_.narrow(rows, last_of(block) - block);
  }

  void choose(int64_t block, int64_t* counts) {
    const Row* rows = rows_of(block);
    for (int64_t i = block; i < last_of(block); ++i) {
      const Row& row = rows[i - block];
      if (i + kRowBlock < end_) rule_.look_ahead(rows_of(block + kRowBlock)[i - block]);
      out_.edges.reserve(out_.size + rule_.most(row), out_.size);
      int64_t* edges = out_.edges.data() + out_.size;
      const int64_t count = rule_.choose(row, edges, scratch_);
      for (int64_t j = 0; j < count; ++j) {
        edges[j] += row.start;
        prefetch(graph_.indices + edges[j]);
      }
      counts[i + 1] = count;
      out_.size += count;
    }
  }

  void read_entries(int64_t block, int64_t from, int64_t until, const int64_t* counts) {
    out_.entries.reserve(until, from);
    uint64_t highest = 0;
    for (int64_t i = block, edge = from; edge < until; ++i) {
      const int64_t tag = graph_.tag(frontier_[i]) << graph_.node_bits;
      for (int64_t row_end = edge + counts[i + 1]; edge < row_end; ++edge) {
        const int64_t neighbor = graph_.indices[out_.edges[edge]];
        highest = std::max(highest, uint64_t(neighbor));
        out_.entries[edge] = tag | neighbor;
      }
    }
    if (until > from && highest >= uint64_t(graph_.num_nodes))
      throw std::invalid_argument("an edge leaves the graph");
  }

  const Adjacency<Node>& graph_;
  const Rule& rule_;
  const uint64_t layer_key_;
  const int64_t* frontier_;
  Scratch& scratch_;
  Drawn& out_;
  int64_t end_ = 0;
  Row rows_[2][kRowBlock];
};

// Draw and relabel for every entry in the workspace, which grows by the new ones.
template <class Node, class Rule>
Hop choose_hop(ChoiceWorkspace& space, const Adjacency<Node>& graph, const Rule& rule,
               uint64_t key, int threads) {
  const int64_t size = space.places.num_nodes;
  const int64_t chunks = (size + kChoiceChunk - 1) / kChoiceChunk;
  threads = int(std::clamp<int64_t>(size / kWorthAThread, 1, std::max(threads, 1)));
  space.chunks.resize(Chunks::kAhead);
  space.scratch.resize(Chunks::kAhead);
  // The list of places may move while it grows; the frontier that is drawn from may not.
  space.frontier.reserve(size, 0);
  std::copy_n(space.places.nodes.data(), size, space.frontier.data());
  Hop hop;
  hop.offsets = Buffer<int64_t>(size + 1);
  hop.offsets[0] = 0;
  auto last_of = [&](int64_t chunk) { return std::min(size, (chunk + 1) * kChoiceChunk); };
  auto draw = [&](int64_t chunk, int64_t slot) {
    ChunkDraw<Node, Rule> draw_chunk(graph, rule, key, space.frontier.data(), space.scratch[slot],
                                     space.chunks[slot]);
    draw_chunk(chunk * kChoiceChunk, last_of(chunk), hop.offsets.data());
  };
  auto place = [&](int64_t chunk, int64_t slot) {
    const Drawn& drawn = space.chunks[slot];
    for (int64_t i = chunk * kChoiceChunk; i < last_of(chunk); ++i)
      hop.offsets[i + 1] += hop.offsets[i];
    hop.reserve(hop.num_edges + drawn.size, true);
    space.places.make_room(drawn.size);
    space.places.relabel(drawn.entries.data(), drawn.size, hop.local.data() + hop.num_edges);
    std::copy_n(drawn.edges.data(), drawn.size, hop.edges.data() + hop.num_edges);
    hop.num_edges += drawn.size;
  };
  in_order(chunks, threads, draw, place);
  hop.num_src = space.places.num_nodes;
  return hop;
}

}  // namespace gnn
