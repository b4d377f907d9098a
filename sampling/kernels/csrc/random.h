// Counter-based randomness: SplitMix64 (Steele, Lea, Flood 2014) keyed by (seed, layer, node), so
// that what is drawn for a node depends on nothing else. Bounded draws are exactly uniform
// (Lemire 2019).
#pragma once
#include <cstdint>

// Always inlined: files that are compiled per instruction set must not share a copy of these.
#define GNN_INLINE inline __attribute__((always_inline))

namespace gnn {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15ULL;

GNN_INLINE uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

GNN_INLINE uint64_t layer_key(uint64_t seed, uint64_t layer) {
  return mix(seed + kGolden * (layer + 1));
}
GNN_INLINE uint64_t stream_key(uint64_t layer_key, uint64_t node) {
  return mix(layer_key + kGolden * node);
}

// Draws 0, 1, 2, … of one stream. A 64-bit word serves two draws below 2^32.
class Stream {
 public:
  GNN_INLINE explicit Stream(uint64_t key) : key_(key) {}

  // Draw j, uniform on 0 … n - 1. Draws must be asked for in order.
  GNN_INLINE uint64_t operator()(uint64_t j, uint64_t n) {
    if (n >> 32) return wide(j, n);
    if (j % 2 == 0) word_ = mix(key_ + kGolden * (j / 2 + 1));
    uint32_t half = j % 2 ? uint32_t(word_ >> 32) : uint32_t(word_);
    uint64_t product = uint64_t(half) * n;
    if (__builtin_expect(uint32_t(product) < n, 0)) {
      uint32_t threshold = uint32_t(-uint32_t(n)) % uint32_t(n);
      for (uint64_t attempt = 1; uint32_t(product) < threshold; ++attempt)
        product = (retry(attempt, j) >> 32) * n;
    }
    return product >> 32;
  }

 private:
  GNN_INLINE uint64_t retry(uint64_t attempt, uint64_t j) const {
    return mix(key_ + kGolden * ((attempt << 32) + j + 1));
  }
  GNN_INLINE uint64_t wide(uint64_t j, uint64_t n) const {
    unsigned __int128 product = (unsigned __int128)mix(key_ + kGolden * (j + 1)) * n;
    if (uint64_t(product) < n) {
      uint64_t threshold = (0 - n) % n;
      for (uint64_t attempt = 1; uint64_t(product) < threshold; ++attempt)
        product = (unsigned __int128)retry(attempt, j) * n;
    }
    return uint64_t(product >> 64);
  }

  uint64_t key_, word_ = 0;
};

}  // namespace gnn
