// Building compressed sparse columns in parts: chunks of edges become runs, partitioned by ranges
// of destinations ("buckets"); the same buckets of all runs are later merged into rows. It is the
// partition of csc.h, cut in two so that runs may wait on disk between the passes.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "csc.h"

namespace gnn {

// An edge in a run is a word: its destination within the bucket, above its source.
inline int source_bits(int64_t num_nodes) { return bits_for(uint64_t(num_nodes)); }

struct Run {
  const uint64_t* words;
  const int64_t* bounds;  // bucket b holds words[bounds[b]] … words[bounds[b + 1] - 1]
};

struct Merge {
  std::vector<Run> runs;
  int64_t buckets = 0, num_rows = 0;
  int shift = 0, bits = 0;  // nodes per bucket and sources, as powers of two

  int64_t size(int64_t bucket) const {
    int64_t total = 0;
    for (auto& run : runs) total += run.bounds[bucket + 1] - run.bounds[bucket];
    return total;
  }
  // act(word) for every edge of a bucket, run by run.
  template <class Act>
  void each(int64_t bucket, const Act& act) const {
    for (auto& run : runs) {
      const uint64_t* last = run.words + run.bounds[bucket + 1];
      for (auto* word = run.words + run.bounds[bucket]; word < last; ++word) act(word);
    }
  }
};

// Offsets of num_rows rows, and value(word) for every edge, row by row.
template <class Out, class Value, class SortRow>
void merge_runs(const Merge& job, int64_t* indptr, Out* out, int threads, const Value& value,
                const SortRow& sort_row) {
  std::vector<int64_t> start(job.buckets + 1);
  for (int64_t b = 0; b < job.buckets; ++b) start[b + 1] = start[b] + job.size(b);
  const auto order = fullest_first(start);
  const int64_t width = int64_t(1) << job.shift;
  indptr[job.num_rows] = start.back();
  parallel_pieces(job.buckets, 1, threads, [&](int64_t turn, int64_t) {
    const int64_t b = order[turn], low = b * width, rows = std::min(job.num_rows - low, width);
    std::vector<int64_t> place(rows + 1);
    bool inside = true;
    job.each(b, [&](const uint64_t* word) {
      const int64_t row = int64_t(*word >> job.bits);
      if (row < rows) place[row + 1]++; else inside = false;
    });
    if (!inside) throw std::invalid_argument("an edge of a run is outside its bucket");
    for (int64_t row = 0; row < rows; ++row) {
      place[row + 1] += place[row];
      indptr[low + row] = start[b] + place[row];
    }
    Out* base = out + start[b];
    job.each(b, [&](const uint64_t* word) { base[place[*word >> job.bits]++] = value(word); });
    for (int64_t row = 0, begin = 0; row < rows; begin = place[row++])
      if (place[row] - begin > 1) sort_row(base + begin, base + place[row]);
  });
}

}  // namespace gnn
