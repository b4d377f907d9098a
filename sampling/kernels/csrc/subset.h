// Sets of positions in a row, and uniform subsets: Floyd's algorithm (Bentley and Floyd, CACM
// 1987), exact for every size.
#pragma once
#include <cstdint>
#include <vector>

#include "random.h"

namespace gnn {

// Key of stream `branch` of those that belong to one node in one layer; the words of a stream
// are counted from 1 and stay below 2^63.
inline uint64_t branch_key(uint64_t key, uint64_t branch) {
  return stream_key(key, (uint64_t(1) << 63) + branch);
}

// Positions that were chosen, one bit each; empty between rows.
class Marks {
 public:
  void reserve(int64_t positions) {
    const size_t words = size_t(positions) / 64 + 1;
    if (words > words_.size()) words_.resize(words + words / 2);
  }
  bool has(uint64_t position) const { return words_[position / 64] >> position % 64 & 1; }
  // False when it was there already.
  bool insert(uint64_t position) {
    const bool fresh = !has(position);
    words_[position / 64] |= uint64_t(1) << position % 64;
    return fresh;
  }
  void erase(const int64_t* positions, int64_t count) {
    for (int64_t i = 0; i < count; ++i) words_[positions[i] / 64] = 0;
  }

 private:
  std::vector<uint64_t> words_;
};

inline int64_t whole_row(int64_t degree, int64_t* out) {
  for (int64_t i = 0; i < degree; ++i) out[i] = i;
  return degree;
}

// `fanout` of `degree` positions, every subset equally likely; all of them when it is negative.
inline int64_t subset(int64_t degree, int64_t fanout, uint64_t key, int64_t* out, Marks& marks) {
  if (fanout < 0 || degree <= fanout) return whole_row(degree, out);
  marks.reserve(degree);
  Stream draw(key);
  for (int64_t j = 0; j < fanout; ++j) {
    const uint64_t top = degree - fanout + j, x = draw(j, top + 1);
    out[j] = int64_t(marks.insert(x) ? x : top);
    marks.insert(out[j]);
  }
  marks.erase(out, fanout);
  return fanout;
}

}  // namespace gnn
