// Nodes numbered in the order first seen, by open addressing. Small and private to one kernel
// call; the sampler has its own table, which lives from batch to batch.
#pragma once
#include <cstdint>
#include <vector>

#include "memory.h"
#include "random.h"

namespace gnn {

class NodeTable {
 public:
  // Room for `most` different keys, none of them negative.
  explicit NodeTable(int64_t most) {
    while ((int64_t(1) << bits_) * 2 < most * 3) ++bits_;
    slots_ = Buffer<Slot>(size_t(1) << bits_, kHugeScratch);
    for (size_t i = 0; i < slots_.size(); ++i) slots_[i].key = kEmpty;
    filter_.resize((slots_.size() << kFilterBits) / 64);
  }

  // The place of `key`; a new key gets the next one.
  int64_t insert(int64_t key) {
    const size_t i = probe(key);
    if (slots_[i].key == kEmpty) {
      slots_[i] = {key, int64_t(taken_.size())};
      filter_[bit(key) / 64] |= uint64_t(1) << bit(key) % 64;
      taken_.push_back(i);
    }
    return slots_[i].place;
  }
  // The place of `key`, -1 when it was never inserted.
  int64_t find(int64_t key) const {
    const Slot& slot = slots_[probe(key)];
    return slot.key == kEmpty ? -1 : slot.place;
  }
  // False when `key` was never inserted; true when it was, and now and then when it was not.
  bool may_hold(int64_t key) const { return filter_[bit(key) / 64] >> bit(key) % 64 & 1; }
  void prefetch(int64_t key) const { __builtin_prefetch(slots_.data() + home(key)); }
  int64_t size() const { return int64_t(taken_.size()); }
  int64_t key(int64_t place) const { return slots_[taken_[place]].key; }
  // Forget every key; costs what was put in, not the size of the table.
  void clear() {
    for (size_t i : taken_) {
      filter_[bit(slots_[i].key) / 64] = 0;
      slots_[i].key = kEmpty;
    }
    taken_.clear();
  }

 private:
  static constexpr int64_t kEmpty = -1;
  struct Slot {
    int64_t key, place;
  };

  static constexpr int kFilterBits = 3;  // a slot has 2^3 bits of the filter

  size_t home(int64_t key) const { return (uint64_t(key) * kGolden) >> (64 - bits_); }
  size_t bit(int64_t key) const { return (uint64_t(key) * kGolden) >> (64 - bits_ - kFilterBits); }
  size_t probe(int64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = home(key);
    while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask;
    return i;
  }

  int bits_ = 6;
  Buffer<Slot> slots_;
  std::vector<size_t> taken_;
  std::vector<uint64_t> filter_;
};

}  // namespace gnn
