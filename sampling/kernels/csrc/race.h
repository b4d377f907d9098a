// Weighted choice without replacement by an exponential race (Efraimidis and Spirakis, Information
// Processing Letters 2006): position i arrives at time E_i / w_i, E_i standard exponential, and the
// first k arrivals have the law of k successive draws.
//
// The logarithm is written out so that every instruction set, and NumPy, computes the same bits.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "random.h"

namespace gnn {

#if defined(GNN_X86) && defined(__GNUC__) && !defined(__clang__)
// As GNN_CLONES, with the 64-bit products and conversions of later AVX-512.
#define GNN_HASH_CLONES __attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#else
#define GNN_HASH_CLONES
#endif

inline double as_double(uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline uint64_t as_bits(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

constexpr double kNever = std::numeric_limits<double>::infinity();

// Natural logarithm of a positive normal number, relative error below 1e-13:
// ln(2^e m) = e ln 2 + 2 artanh(s), s = (m - 1) / (m + 1), m between sqrt(1/2) and sqrt(2).
inline double natural_log(double x) {
  const uint64_t bits = as_bits(x);
  double mantissa = as_double((bits & 0xFFFFFFFFFFFFFULL) | 0x3FF0000000000000ULL);
  // 2^52 + the biased exponent, as a double; an integer conversion that every SIMD unit has.
  double exponent = as_double(bits >> 52 | 0x4330000000000000ULL) - (4503599627370496.0 + 1023.0);
  const bool upper = mantissa > 1.4142135623730951;
  mantissa = upper ? mantissa * 0.5 : mantissa;
  exponent = upper ? exponent + 1.0 : exponent;
  const double s = (mantissa - 1.0) / (mantissa + 1.0), z = s * s;
  double series = 1.0 / 17.0;
  series = series * z + 1.0 / 15.0;
  series = series * z + 1.0 / 13.0;
  series = series * z + 1.0 / 11.0;
  series = series * z + 1.0 / 9.0;
  series = series * z + 1.0 / 7.0;
  series = series * z + 1.0 / 5.0;
  series = series * z + 1.0 / 3.0;
  series = series * z + 1.0;
  return exponent * 0.6931471805599453 + 2.0 * s * series;
}

// When each position arrives; never where the weight is not positive.
GNN_HASH_CLONES inline void arrival_times(const float* weight, int64_t size, uint64_t key,
                                          double* times) {
  for (int64_t i = 0; i < size; ++i) {
    const uint64_t word = mix(key + kGolden * uint64_t(i + 1));
    const double uniform = 2.0 - as_double(word >> 12 | 0x3FF0000000000000ULL);  // in (0, 1]
    const double w = weight[i], time = -natural_log(uniform) / w;
    times[i] = w > 0.0 ? time : kNever;
  }
}

// The positions of the `count` smallest times, ascending; of equal times the first come first, and
// who never arrives is not among them.
inline int64_t first_arrivals(const double* times, int64_t size, int64_t count, int64_t* out,
                              std::vector<double>& order) {
  double last = kNever;
  if (count < size) {
    order.assign(times, times + size);
    std::nth_element(order.begin(), order.begin() + count, order.end());
    last = order[count];  // the first that is too late, but for its equals
  }
  int64_t taken = 0, before = 0;
  for (int64_t i = 0; i < size; ++i) before += times[i] < last;
  int64_t ties = last < kNever ? count - before : 0;
  for (int64_t i = 0; i < size; ++i) {
    const bool equal = times[i] == last && ties > 0;
    ties -= equal;
    out[taken] = i;
    taken += times[i] < last || equal;
  }
  return taken;
}

}  // namespace gnn
