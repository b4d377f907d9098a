// From the ids that users bring to dense nodes: open addressing over rows of a key array, so a
// table is 4 bytes a slot at most half full. A key set that clusters gets another salt.
#pragma once
#include <cstdint>
#include <cstring>

#include "parallel.h"
#include "random.h"

namespace gnn {

constexpr int64_t kLongestProbe = 512;

struct IntKeys {
  const int64_t* keys;
  int64_t size;
  uint64_t hash(int64_t i, uint64_t salt) const { return mix(uint64_t(keys[i]) + kGolden * (salt + 1)); }
  void prefetch(int64_t i) const { __builtin_prefetch(keys + i); }
};
inline bool equal(const IntKeys& a, int64_t i, const IntKeys& b, int64_t j) {
  return a.keys[i] == b.keys[j];
}

struct StringKeys {
  const uint8_t* data;
  const int64_t* offsets;
  int64_t size;
  int64_t length(int64_t i) const { return offsets[i + 1] - offsets[i]; }
  uint64_t hash(int64_t i, uint64_t salt) const {
    const uint8_t* p = data + offsets[i];
    int64_t left = length(i);
    uint64_t h = mix(uint64_t(left) + kGolden * (salt + 1));
    for (; left > 0; left -= 8, p += 8) {
      uint64_t word = 0;
      std::memcpy(&word, p, left < 8 ? left : 8);
      h = mix(h ^ word) + kGolden;
    }
    return mix(h);
  }
  void prefetch(int64_t i) const { __builtin_prefetch(offsets + i); }
};
inline bool equal(const StringKeys& a, int64_t i, const StringKeys& b, int64_t j) {
  return a.length(i) == b.length(j) &&
         std::memcmp(a.data + a.offsets[i], b.data + b.offsets[j], a.length(i)) == 0;
}

inline int64_t table_size(int64_t keys) {
  int64_t size = 16;
  while (size < keys * 2) size *= 2;
  return size;
}

constexpr int64_t kProbeTooLong = -2;

// Fill a table of -1; returns the row of a repeated key, -1, or kProbeTooLong.
template <class Keys, class Row>
int64_t build_table(const Keys& keys, Row* table, int64_t slots, uint64_t salt) {
  constexpr int64_t kAhead = 16;
  const uint64_t mask = slots - 1;
  uint64_t homes[kAhead];
  for (int64_t i = 0; i < keys.size + kAhead; ++i) {
    if (i >= kAhead) {
      uint64_t slot = homes[i % kAhead];
      int64_t probes = 0, row = i - kAhead;
      for (; table[slot] >= 0; slot = (slot + 1) & mask) {
        if (equal(keys, table[slot], keys, row)) return row;
        if (++probes > kLongestProbe) return kProbeTooLong;
      }
      table[slot] = Row(row);
    }
    if (i < keys.size) {
      homes[i % kAhead] = keys.hash(i, salt) & mask;
      __builtin_prefetch(table + homes[i % kAhead], 1);
    }
  }
  return -1;
}

template <class Keys, class Row>
void find_keys(const Keys& keys, const Row* table, int64_t slots, uint64_t salt, const Keys& queries,
               int64_t* rows, int threads) {
  constexpr int64_t kAhead = 16;
  const uint64_t mask = slots - 1;
  parallel_pieces(queries.size, 1 << 15, threads, [&](int64_t begin, int64_t end) {
    uint64_t homes[2 * kAhead];
    for (int64_t i = begin; i < end + 2 * kAhead; ++i) {
      if (int64_t j = i - 2 * kAhead; j >= begin) {  // stage 3: compare, and free the ring's place
        rows[j] = -1;
        int64_t probes = 0;
        for (uint64_t slot = homes[j % (2 * kAhead)]; table[slot] >= 0 && probes <= slots;
             slot = (slot + 1) & mask, ++probes)
          if (equal(keys, table[slot], queries, j)) {
            rows[j] = table[slot];
            break;
          }
      }
      if (i < end) {  // stage 1: the slot
        homes[i % (2 * kAhead)] = queries.hash(i, salt) & mask;
        __builtin_prefetch(table + homes[i % (2 * kAhead)]);
      }
      if (int64_t j = i - kAhead; j >= begin && j < end) {  // stage 2: the key it points to
        Row row = table[homes[j % (2 * kAhead)]];
        if (row >= 0) keys.prefetch(row);
      }
    }
  });
}

}  // namespace gnn
