// Synthetic graphs: R-MAT edges (Chakrabarti, Zhan, Faloutsos, SDM 2004) and features. Every number
// is a hash of (seed, counter), so any piece can be made alone; blocks keep the loops in cache and
// let the compiler turn them into vectors.
#pragma once
#include <algorithm>
#include <cstdint>

#include "parallel.h"
#include "random.h"

#if defined(GNN_X86) && !defined(GNN_CLONES)
#define GNN_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#elif !defined(GNN_CLONES)
#define GNN_CLONES
#endif

namespace gnn {

// Word `counter` of the hash of a seed, SplitMix64.
struct Hash {
  uint64_t base;
  explicit Hash(uint64_t seed) : base(seed * 0xD1342543DE82EF95ULL + kGolden) {}
  uint64_t operator()(uint64_t counter) const { return mix(counter * kGolden + base); }
};

constexpr uint64_t kLevels = uint64_t(1) << 48, kScramble = uint64_t(2) << 48;
constexpr int kLevelBits = 42;
constexpr int64_t kBlockWords = 256, kBlockEdges = 4 * kBlockWords;

// Where the 16 bits of one level place an edge: quadrants of the probabilities a, b, c, d.
struct Quadrants {
  uint16_t a, b, c;  // a, a + b and a + b + c as shares of 65536
};

// Edges of kBlockWords words from `first` on: four edges share a word at each level.
GNN_CLONES inline void rmat_block(Hash hash, uint64_t first, int bits, Quadrants at,
                                  uint64_t* __restrict src, uint64_t* __restrict dst) {
  uint64_t words[kBlockWords];
  uint16_t lanes[kBlockEdges];
  for (int64_t i = 0; i < kBlockEdges; ++i) src[i] = dst[i] = 0;
  for (int level = 0; level < bits; ++level) {
    const uint64_t stream = kLevels + (uint64_t(level) << kLevelBits) + first;
    for (int64_t w = 0; w < kBlockWords; ++w) words[w] = hash(stream + uint64_t(w));
    for (int64_t w = 0; w < kBlockWords; ++w)
      for (int lane = 0; lane < 4; ++lane) lanes[4 * w + lane] = uint16_t(words[w] >> (16 * lane));
    for (int64_t i = 0; i < kBlockEdges; ++i) {
      const uint64_t below = lanes[i] >= at.b;
      const uint64_t right = uint64_t(lanes[i] >= at.a) ^ below ^ uint64_t(lanes[i] >= at.c);
      src[i] = src[i] << 1 | below;
      dst[i] = dst[i] << 1 | right;
    }
  }
}

// Other names for nodes: a keyed bijection of 0 … 2^bits - 1, walked along its cycle until it falls
// below num_nodes again (Black, Rogaway, CT-RSA 2002).
struct Scramble {
  uint64_t keys[6], mask, num_nodes;
  int half;

  Scramble(Hash hash, int bits, uint64_t nodes)
      : mask(bits < 64 ? (uint64_t(1) << bits) - 1 : ~uint64_t(0)), num_nodes(nodes),
        half((bits + 1) / 2) {
    for (int i = 0; i < 6; ++i) keys[i] = hash(kScramble + uint64_t(i)) | uint64_t(i % 2 == 0);
  }
  uint64_t step(uint64_t x) const {
    for (int i = 0; i < 6; i += 2) {
      x = (x * keys[i] + keys[i + 1]) & mask;
      x ^= x >> half;
    }
    return x;
  }
};

GNN_CLONES inline void scramble_block(const Scramble& names, uint64_t* __restrict x) {
  const uint64_t n = names.num_nodes;
  for (int64_t i = 0; i < kBlockEdges; ++i) x[i] = names.step(x[i] < n ? x[i] : x[i] - n);
  for (int64_t i = 0; i < kBlockEdges; ++i)
    while (x[i] >= n) x[i] = names.step(x[i]);
}

// Edges start … end - 1 of the graph of a seed; `start` is a multiple of 4.
template <class Node>
void rmat_edges(int64_t start, int64_t end, int bits, int64_t num_nodes, uint64_t seed,
                Quadrants at, Node* src, Node* dst, int threads) {
  const Hash hash(seed);
  const Scramble names(hash, bits, uint64_t(num_nodes));
  parallel_pieces(end - start, 64 * kBlockEdges, threads, [&](int64_t first, int64_t last) {
    uint64_t from[kBlockEdges], to[kBlockEdges];
    for (int64_t i = first; i < last; i += kBlockEdges) {
      rmat_block(hash, uint64_t(start + i) / 4, bits, at, from, to);
      scramble_block(names, from);
      scramble_block(names, to);
      const int64_t size = std::min(kBlockEdges, last - i);
      for (int64_t k = 0; k < size; ++k) src[i + k] = Node(from[k]), dst[i + k] = Node(to[k]);
    }
  });
}

// Nearly normal numbers: each the sum of four uniforms of 16 bits (Irwin–Hall), of variance 1.
GNN_CLONES inline void normal_pairs(Hash hash, uint64_t counter, int64_t pairs, float* out) {
  constexpr uint64_t low = 0x0000FFFF0000FFFFULL;
  constexpr float scale = float(1.7320508075688772 / 65536);
  for (int64_t p = 0; p < pairs; ++p) {
    const uint64_t x = hash(counter + 2 * uint64_t(p)), y = hash(counter + 2 * uint64_t(p) + 1);
    const uint64_t sums = (x & low) + (x >> 16 & low) + (y & low) + (y >> 16 & low);
    out[2 * p] = (float(uint32_t(sums)) - 131070.0f) * scale;
    out[2 * p + 1] = (float(uint32_t(sums >> 32)) - 131070.0f) * scale;
  }
}

}  // namespace gnn
