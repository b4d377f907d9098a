// Choice among the edges before a time: uniform, or the most recent.
//
// Rows are sorted by (edge type, time), so that what is eligible is one range per type. Without
// types the ranges of a block of rows are searched for side by side, each step prefetching the next
// (the search ring of Sun et al., ThunderRW, VLDB 2021).
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include "choose.h"
#include "rules.h"

namespace gnn {

// What an entry may see: edges of times first … before - 1, `before` being its seed's time.
struct Era {
  int64_t first, before;
};

// The first of rows[i]'s positions whose time is at least limit(i), for all rows at once.
template <class Limit>
void search_together(const int64_t* times, const Row* rows, int64_t count, const Limit& limit,
                     int64_t* found) {
  int64_t left[kRowBlock], longest = 0;
  for (int64_t i = 0; i < count; ++i) {
    found[i] = 0;
    left[i] = rows[i].degree;
    longest = std::max(longest, left[i]);
    prefetch(times + rows[i].start + left[i] / 2);
  }
  for (; longest > 0; longest /= 2)
    for (int64_t i = 0; i < count; ++i) {
      if (left[i] == 0) continue;
      const int64_t half = left[i] / 2, middle = rows[i].start + found[i] + half;
      const bool earlier = times[middle] < limit(i);
      found[i] += earlier ? half + 1 : 0;
      left[i] = earlier ? left[i] - half - 1 : half;
      prefetch(times + rows[i].start + found[i] + left[i] / 2);
    }
}

struct BeforeTime {
  const int16_t* edge_type;  // null when all edges have one type
  const int64_t* edge_time;
  const Era* eras;  // by tag
  int64_t fanout;
  bool recent, windowed;

  int64_t most(const Row& row) const { return bounded(fanout, row.degree); }

  // Cut rows of one type down to the edges of their era.
  void narrow(Row* rows, int64_t count) const {
    if (edge_type) return;
    int64_t found[kRowBlock];
    auto before = [&](int64_t i) { return eras[rows[i].tag].before; };
    auto first = [&](int64_t i) { return eras[rows[i].tag].first; };
    search_together(edge_time, rows, count, before, found);
    for (int64_t i = 0; i < count; ++i) rows[i].degree = found[i];
    if (!windowed) return;
    search_together(edge_time, rows, count, first, found);
    for (int64_t i = 0; i < count; ++i) {
      rows[i].start += found[i];
      rows[i].degree -= found[i];
    }
  }

  void look_ahead(const Row& row) const {
    if (!edge_type) return;
    prefetch_run(edge_type + row.start, row.degree, 2);
    prefetch_run(edge_time + row.start, row.degree, 4);
  }

  int64_t choose(const Row& row, int64_t* out, Scratch& scratch) const {
    scratch.runs.clear();
    if (edge_type) find_runs(row, scratch.runs); else scratch.runs.push_back({0, row.degree});
    int64_t eligible = 0;
    for (const Run& run : scratch.runs) eligible += run.end - run.begin;
    if (!recent || fanout < 0 || eligible <= fanout) return any(row, eligible, out, scratch);
    return latest(row, scratch.runs, out);
  }

 private:
  void find_runs(const Row& row, std::vector<Run>& runs) const {
    const int16_t* types = edge_type + row.start;
    const int64_t* times = edge_time + row.start;
    const Era era = eras[row.tag];
    for (int64_t begin = 0, end; begin < row.degree; begin = end) {
      end = std::upper_bound(types + begin + 1, types + row.degree, types[begin]) - types;
      const int64_t* first = std::lower_bound(times + begin, times + end, era.first);
      const int64_t* last = std::lower_bound(first, times + end, era.before);
      if (first < last) runs.push_back({first - times, last - times});
    }
  }

  int64_t any(const Row& row, int64_t eligible, int64_t* out, Scratch& scratch) const {
    const uint64_t key = stream_key(row.key, uint64_t(eras[row.tag].before));
    const int64_t count = subset(eligible, fanout, key, out, scratch.marks);
    for (int64_t j = 0; j < count; ++j) {
      const Run* run = scratch.runs.data();
      for (; out[j] >= run->end - run->begin; ++run) out[j] -= run->end - run->begin;
      out[j] += run->begin;
    }
    return count;
  }

  // The `fanout` latest of all runs, of equal times the later positions; ascending.
  int64_t latest(const Row& row, std::vector<Run>& runs, int64_t* out) const {
    const int64_t* times = edge_time + row.start;
    for (int64_t j = fanout; j-- > 0;) {
      Run* best = nullptr;
      for (Run& run : runs)
        if (run.begin < run.end && (!best || times[run.end - 1] >= times[best->end - 1]))
          best = &run;
      out[j] = --best->end;
    }
    if (runs.size() > 1) std::sort(out, out + fanout);
    return fanout;
  }
};

}  // namespace gnn
