// A product of rows and weights kept in registers: some rows by two vectors of columns at a time,
// terms added in the order of the columns of the weight (Goto, van de Geijn: Anatomy of
// High-Performance Matrix Multiplication, 2008; with one level of blocking, since a tile is small).
#include "dense.h"

namespace gnn {
namespace GNN_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 12;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kRows = 6;
#else
constexpr int kLanes = 4, kRows = 6;
#endif
constexpr int kPanel = 2 * kLanes;  // columns side by side: two vectors

typedef float Vec __attribute__((vector_size(kLanes * 4)));

inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof(Vec));
  return v;
}

inline void store(Vec v, float* p) { __builtin_memcpy(p, &v, sizeof(Vec)); }

int64_t packed_size(int64_t columns, int64_t width) {
  return (columns + kPanel - 1) / kPanel * kPanel * width;
}

void pack(const float* weight, int64_t columns, int64_t width, float* packed) {
  for (int64_t first = 0; first < columns; first += kPanel)
    for (int64_t k = 0; k < width; ++k)
      for (int64_t c = first; c < first + kPanel; ++c)
        *packed++ = c < columns ? weight[c * width + k] : 0.0f;
}

// A panel of a row that may end before the panel does.
struct Piece {
  float values[kPanel] = {};
  Piece(const float* from, int64_t size) {
    if (from) for (int64_t i = 0; i < size; ++i) values[i] = from[i];
  }
};

template <int R>
inline void multiply_block(const Product& job, int64_t row, int64_t first, float* out) {
  const int64_t size = job.columns - first < kPanel ? job.columns - first : kPanel;
  const Piece bias(job.bias ? job.bias + first : nullptr, size);
  Vec sum[R][2];
  for (int r = 0; r < R; ++r) {
    const Piece added(job.added ? job.added + (row + r) * job.columns + first : nullptr, size);
    for (int v = 0; v < 2; ++v)
      sum[r][v] = load(bias.values + v * kLanes) + load(added.values + v * kLanes);
  }
  for (int i = 0; i < job.count; ++i) {
    const int64_t width = job.operands[i].width;
    const float* rows = job.operands[i].rows + row * width;
    const float* weight = job.operands[i].weight + first * width;
    for (int64_t k = 0; k < width; ++k) {
      const Vec left = load(weight + k * kPanel), right = load(weight + k * kPanel + kLanes);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        sum[r][0] += rows[r * width + k] * left;
        sum[r][1] += rows[r * width + k] * right;
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    float* to = out + (row + r) * job.columns + first;
    for (int v = 0; v < 2; ++v) {
      if (job.relu) sum[r][v] = sum[r][v] < 0.0f ? Vec{} : sum[r][v];  // leaves NaN to be seen
      if (size == kPanel) { store(sum[r][v], to + v * kLanes); continue; }
      for (int64_t c = v * kLanes; c < (v + 1) * kLanes && c < size; ++c)
        to[c] = sum[r][v][c - v * kLanes];
    }
  }
}

void multiply(const Product& job, int64_t rows, float* out) {
  for (int64_t first = 0; first < job.columns; first += kPanel) {
    int64_t row = 0;
    for (; row + kRows <= rows; row += kRows) multiply_block<kRows>(job, row, first, out);
    for (; row + 3 <= rows; row += 3) multiply_block<3>(job, row, first, out);
    for (; row < rows; ++row) multiply_block<1>(job, row, first, out);
  }
}

inline uint32_t bits_of(float v) {
  uint32_t bits;
  __builtin_memcpy(&bits, &v, 4);
  return bits;
}

inline float from_bits(uint32_t bits) {
  float v;
  __builtin_memcpy(&v, &bits, 4);
  return v;
}

inline float magnitude(float v) { return from_bits(bits_of(v) & 0x7FFFFFFF); }

// Each rounds to nearest, ties to even: `code` and what it reads back as. `kLimit` bounds what
// rounds to a finite value.
struct ToFloat16 {
  using Code = uint16_t;
  static constexpr bool kScaled = false;
  static constexpr float kLimit = 65519.996f;
  static Code code(float v, float) {
    const uint32_t sign = bits_of(v) >> 16 & 0x8000, size = bits_of(v) & 0x7FFFFFFF;
    if (size < 0x38800000)  // subnormal: adding 0.5 leaves multiples of 2^-24
      return Code(sign | (bits_of(from_bits(size) + 0.5f) - 0x3F000000));
    return Code(sign | ((size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13));
  }
  static float value(Code c, float) {
    const uint32_t sign = uint32_t(c & 0x8000) << 16, size = c & 0x7FFF;
    if (size < 0x400) return from_bits(sign | bits_of(float(size) * 5.9604644775390625e-08f));
    return from_bits(sign | ((size << 13) + 0x38000000));
  }
};

struct ToBfloat16 {
  using Code = uint16_t;
  static constexpr bool kScaled = false;
  static constexpr float kLimit = 3.3895313e38f;
  static Code code(float v, float) {
    const uint32_t bits = bits_of(v);
    return Code((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  }
  static float value(Code c, float) { return from_bits(uint32_t(c) << 16); }
};

// Values beyond 127 steps are clipped.
struct ToInt8 {
  using Code = int8_t;
  static constexpr bool kScaled = true;
  static constexpr float kLimit = 3.4028234e38f;
  static Code code(float v, float scale) {
    float steps = v / scale;
    steps = steps < 127.0f ? steps : 127.0f;
    steps = steps > -127.0f ? steps : -127.0f;
    return Code(int32_t(bits_of(steps + 12582912.0f)) - 0x4B400000);  // 1.5 · 2^23: unit steps
  }
  static float value(Code c, float scale) { return float(c) * scale; }
};

template <class T>
bool encode_as(const float* __restrict rows, int64_t count, const Rows& to, void* out,
               float* error) {
  using Code = typename T::Code;
  Code* __restrict codes = static_cast<Code*>(out);
  const int64_t columns = to.columns;
  const float* __restrict scales = to.scale;
  uint32_t wrong = 0, largest = bits_of(*error);  // magnitudes compare as their bits do
  for (int64_t i = 0; i < count; ++i, rows += columns, codes += columns)
    for (int64_t c = 0; c < columns; ++c) {
      const float scale = T::kScaled ? scales[c] : 1.0f;
      wrong |= !(magnitude(rows[c]) <= T::kLimit);
      codes[c] = T::code(rows[c], scale);
      const uint32_t off = bits_of(rows[c] - T::value(codes[c], scale)) & 0x7FFFFFFF;
      largest = off > largest ? off : largest;
    }
  if (!wrong) *error = from_bits(largest);
  return !wrong;
}

bool all_finite(const float* values, int64_t size) {
  uint32_t wrong = 0;
  for (int64_t i = 0; i < size; ++i) wrong |= (bits_of(values[i]) & 0x7F800000) == 0x7F800000;
  return !wrong;
}

bool encode(const float* rows, int64_t count, const Rows& to, void* out, float* error) {
  switch (to.storage) {
    case Storage::kFloat32: return all_finite(rows, count * to.columns);
    case Storage::kFloat16: return encode_as<ToFloat16>(rows, count, to, out, error);
    case Storage::kBfloat16: return encode_as<ToBfloat16>(rows, count, to, out, error);
    case Storage::kInt8: return encode_as<ToInt8>(rows, count, to, out, error);
  }
  return false;
}

}  // namespace

extern const DenseKernels dense_kernels;
const DenseKernels dense_kernels = {packed_size, pack, multiply, encode};

}  // namespace GNN_ISA
}  // namespace gnn
