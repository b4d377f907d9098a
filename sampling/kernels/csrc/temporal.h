// Choice among the edges before a time: uniform, or the most recent.
//
// Rows are sorted by (edge type, time), so that what is eligible is one range per type. Without
// types the ranges of a block of rows are searched for side by side, each step prefetching the next
// (the search ring of Sun et al., ThunderRW, VLDB 2021).
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "choose.h"
#include "rules.h"

namespace gnn {

// What an entry may see: edges of times first … before - 1, `before` being its seed's time.
struct Era {
  int64_t first, before;
};

// Positions that are counted rather than halved: no more than two cache lines of times.
constexpr int64_t kCounted = 8;

// The first of rows[i]'s positions whose time is at least limit(i), for all rows at once. Rows
// leave the ring when few of their positions are left; nothing branches on a time.
template <class Limit>
void search_together(const int64_t* times, const Row* rows, int64_t count, const Limit& limit,
                     int64_t* found) {
  int64_t left[kRowBlock], limits[kRowBlock], ring[kRowBlock], size = 0;
  const auto fetch = [&](int64_t i) {
    const int64_t* first = times + rows[i].start + found[i];
    prefetch(left[i] > kCounted ? first + left[i] / 2 : first);
  };
  const auto keep = [&](int64_t i) {
    ring[size] = i;
    size += left[i] > kCounted;
    fetch(i);
  };
  for (int64_t i = 0; i < count; ++i) {
    found[i] = 0, left[i] = rows[i].degree, limits[i] = limit(i);
    keep(i);
  }
  while (size > 0)
    for (int64_t r = 0, turn = std::exchange(size, 0); r < turn; ++r) {
      const int64_t i = ring[r], half = left[i] / 2;
      const bool earlier = times[rows[i].start + found[i] + half] < limits[i];
      found[i] += earlier ? half + 1 : 0;
      left[i] = earlier ? left[i] - half - 1 : half;
      keep(i);
    }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t* first = times + rows[i].start + found[i];
    for (int64_t j = 0; j < left[i]; ++j) found[i] += first[j] < limits[i];
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
    if (!edge_type) return of_one_run(row, out, scratch);
    scratch.runs.clear();
    find_runs(row, scratch.runs);
    int64_t eligible = 0;
    for (const Run& run : scratch.runs) eligible += run.end - run.begin;
    if (!recent || fanout < 0 || eligible <= fanout) return any(row, eligible, out, scratch);
    return latest(row, scratch.runs, out);
  }

 private:
  uint64_t key(const Row& row) const {
    return stream_key(row.key, uint64_t(eras[row.tag].before));
  }

  int64_t of_one_run(const Row& row, int64_t* out, Scratch& scratch) const {
    if (!recent || fanout < 0 || row.degree <= fanout)
      return subset(row.degree, fanout, key(row), out, scratch.marks);
    for (int64_t j = 0; j < fanout; ++j) out[j] = row.degree - fanout + j;
    return fanout;
  }

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
    const int64_t count = subset(eligible, fanout, key(row), out, scratch.marks);
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
    std::sort(out, out + fanout);
    return fanout;
  }
};

}  // namespace gnn
