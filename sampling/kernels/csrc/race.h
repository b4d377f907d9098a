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

[[gnu::always_inline]] inline double as_double(uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
[[gnu::always_inline]] inline uint64_t as_bits(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

constexpr double kNever = std::numeric_limits<double>::infinity();

// Natural logarithm of a positive normal number, relative error below 1e-13:
// ln(2^e m) = e ln 2 + 2 artanh(s), s = (m - 1) / (m + 1), m between sqrt(1/2) and sqrt(2).
[[gnu::always_inline]] inline double natural_log(double x) {
  constexpr uint64_t kOne = 0x3FF0000000000000ULL, kRootOfHalf = 0x3FE6A09E667F3BCDULL;
  const uint64_t bits = as_bits(x), biased = (bits - kRootOfHalf + kOne) >> 52;
  const double m = as_double(bits + kOne - (biased << 52));
  // 2^52 + e + 1023 as a double: an integer conversion that every SIMD unit has.
  const double e = as_double(biased | 0x4330000000000000ULL) - (4503599627370496.0 + 1023.0);
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double series = 1.0 / 17.0;
  series = series * z + 1.0 / 15.0;
  series = series * z + 1.0 / 13.0;
  series = series * z + 1.0 / 11.0;
  series = series * z + 1.0 / 9.0;
  series = series * z + 1.0 / 7.0;
  series = series * z + 1.0 / 5.0;
  series = series * z + 1.0 / 3.0;
  series = series * z + 1.0;
  return e * 0.6931471805599453 + 2.0 * s * series;
}

constexpr int64_t kRunners = 64;  // positions whose times are computed at once
constexpr int64_t kLanes = 8;

// When positions first … first + size - 1 of a row arrive; never where the weight is zero.
// Whole lanes are computed: both arrays have a multiple of eight entries.
GNN_HASH_CLONES inline void run_times(const float* weight, int64_t first, int64_t size,
                                      uint64_t key, double* times) {
  const int64_t whole = (size + kLanes - 1) / kLanes * kLanes;
  for (int64_t i = 0; i < whole; ++i) {
    const uint64_t word = mix(key + kGolden * uint64_t(first + i + 1));
    // A multiple of 2^-53 strictly between 0 and 1.
    const double uniform = 2.0 - as_double(word >> 12 | 0x3FF0000000000000ULL) - 0x1p-53;
    times[i] = -natural_log(uniform) / double(weight[i]);
  }
}

// When each position of a row arrives; what is no positive number never does. `times` has room for
// a run more.
inline void arrival_times(const float* weight, int64_t size, uint64_t key, double* times) {
  for (int64_t first = 0; first < size; first += kRunners) {
    float padded[kRunners] = {};
    const int64_t run = std::min(kRunners, size - first);
    for (int64_t i = 0; i < run; ++i) padded[i] = weight[first + i] > 0 ? weight[first + i] : 0;
    run_times(padded, first, run, key, times + first);
  }
}

// How many times of a run are before each one of it.
GNN_HASH_CLONES inline void run_ranks(const double* times, int64_t size, int64_t* ranks) {
  const int64_t whole = (size + kLanes - 1) / kLanes * kLanes;
  for (int64_t i = 0; i < whole; ++i) ranks[i] = 0;
  for (int64_t j = 0; j < size; ++j)
    for (int64_t i = 0; i < whole; ++i) ranks[i] += times[j] < times[i];
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

// The same for one run at most: everybody's rank, without a branch.
inline int64_t first_of_run(const double* times, int64_t size, int64_t count, int64_t* out,
                            std::vector<double>& order) {
  int64_t ranks[kRunners], taken = 0;
  run_ranks(times, size, ranks);
  for (int64_t i = 0; i < size; ++i) {
    out[taken] = i;
    taken += ranks[i] < count && times[i] < kNever;
  }
  return taken <= count ? taken : first_arrivals(times, size, count, out, order);
}

}  // namespace gnn
