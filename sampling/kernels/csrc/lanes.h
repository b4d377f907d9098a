// Vectors of float32 lanes over rows in any storage type, for the kernels that are compiled once
// per instruction set. Multiplication and addition are never fused, so that every instruction set
// gives the same bits.
#pragma once
#include <cstdint>

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

#include "rows.h"

// GCC takes a function that only prefetches for one without effect, and drops its calls.
#define GNN_INLINE inline __attribute__((always_inline))

namespace gnn {
namespace GNN_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t IntVec __attribute__((vector_size(kLanes * 4)));

template <class V>
inline V load(const void* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}

// The first `count` of the lanes; the others are 0 and are not written.
inline Vec load_floats(const float* p, int64_t count) {
  if (count >= kLanes) return load<Vec>(p);
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return load<Vec>(lanes);
}
inline void store_floats(float* p, Vec v, int64_t count) {
  if (count >= kLanes) {
    __builtin_memcpy(p, &v, sizeof(Vec));
    return;
  }
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
}

// Write a whole vector past the caches; `p` is aligned to its size.
inline void stream(float* p, Vec v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, __m512(v));
#elif defined(__AVX2__)
  _mm256_stream_ps(p, __m256(v));
#elif defined(__SSE4_1__)
  _mm_stream_ps(p, __m128(v));
#else
  __builtin_memcpy(p, &v, sizeof(Vec));
#endif
}
inline void finish_streams() {
#if defined(__SSE4_1__)
  _mm_sfence();
#endif
}
inline bool can_stream(const float* p, int64_t columns) {
  return columns % kLanes == 0 && reinterpret_cast<uintptr_t>(p) % (kLanes * 4) == 0;
}

struct Float32 {
  using Value = float;
  static Vec vec(const float* p) { return load<Vec>(p); }
};

struct Bfloat16 {
  using Value = uint16_t;
  static Vec vec(const uint16_t* p) {
#if defined(__AVX512F__)
    auto bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return Vec(_mm512_slli_epi32(bits, 16));
#elif defined(__AVX2__)
    auto bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return Vec(_mm256_slli_epi32(bits, 16));
#else
    IntVec bits;
    for (int i = 0; i < kLanes; ++i) bits[i] = int32_t(uint32_t(p[i]) << 16);
    return load<Vec>(&bits);
#endif
  }
};

struct Int8 {
  using Value = int8_t;
  static Vec vec(const int8_t* p) {
#if defined(__AVX512F__)
    auto bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return Vec(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
#elif defined(__AVX2__)
    auto bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return Vec(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
#else
    Vec v;
    for (int i = 0; i < kLanes; ++i) v[i] = p[i];
    return v;
#endif
  }
};

struct Float16 {
  using Value = uint16_t;
  static Vec vec(const uint16_t* p) {
#if defined(__AVX512F__)
    return Vec(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__)
    return Vec(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
    Vec v;
    for (int i = 0; i < kLanes; ++i) v[i] = one(p[i]);
    return v;
#endif
  }
  static float one(uint16_t h) {
    uint32_t sign = uint32_t(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 0x3FF;
    uint32_t bits;
    if (exponent == 31) {
      bits = sign | 0x7F800000 | fraction << 13;
    } else if (exponent) {
      bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else {  // subnormal: fraction times 2^-24
      float f = float(fraction) * 5.9604644775390625e-08f;
      __builtin_memcpy(&bits, &f, 4);
      bits |= sign;
    }
    float f;
    __builtin_memcpy(&f, &bits, 4);
    return f;
  }
};

// A stored matrix, read a few vectors at a time. A read may run past the end of a row, never past
// the end of the matrix: the lanes beyond the row hold anything and are dropped when stored.
template <class T>
struct Table {
  using Value = typename T::Value;
  const Value* data;
  const Value* end;
  int64_t columns;

  explicit Table(const Rows& x)
      : data(static_cast<const Value*>(x.data)), end(data + x.count * x.columns), columns(x.columns) {}

  const Value* row(int64_t r) const { return data + r * columns; }
  int64_t row_bytes() const { return columns * int64_t(sizeof(Value)); }
  GNN_INLINE void prefetch(int64_t r) const {
    const uintptr_t first = reinterpret_cast<uintptr_t>(row(r)), last = first + row_bytes();
    for (uintptr_t line = first & ~uintptr_t(63); line < last; line += 64)
      __builtin_prefetch(reinterpret_cast<const void*>(line));
  }

  // use(i, vector) for the N vectors from p on.
  template <int N, class Use>
  GNN_INLINE void read(const Value* p, const Use& use) const {
    Value copy[N * kLanes];
    if (__builtin_expect(end - p < N * kLanes, 0)) {
      for (int64_t i = 0; i < N * kLanes; ++i) copy[i] = i < end - p ? p[i] : Value(0);
      p = copy;
    }
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) use(i, T::vec(p + i * kLanes));
  }
};


// How many rows ahead of their use rows are fetched: enough to keep the memory busy, few enough to
// stay in the first cache.
inline int64_t rows_ahead(int64_t row_bytes) {
  const int64_t rows = 8192 / (row_bytes ? row_bytes : 1);
  return rows < 8 ? 8 : rows > 48 ? 48 : rows;
}

// Columns are worked on a panel at a time: as many vectors as stay in registers. call(c, Count<N>)
// for every panel of at most kMost vectors, N being as many as its columns fill.
template <int N>
struct Count {
  static constexpr int value = N;
};
template <int kMost, class Call>
GNN_INLINE void one_panel(int64_t c, int64_t left, const Call& call) {
  if constexpr (kMost > 1)
    if (left <= (kMost - 1) * kLanes) return one_panel<kMost - 1>(c, left, call);
  call(c, Count<kMost>{});
}
template <int kMost, class Call>
GNN_INLINE void each_panel(int64_t columns, const Call& call) {
  for (int64_t c = 0; c < columns; c += kMost * kLanes) one_panel<kMost>(c, columns - c, call);
}

}  // namespace
}  // namespace GNN_ISA
}  // namespace gnn
