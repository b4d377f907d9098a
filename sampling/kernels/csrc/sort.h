// Sorting the rows of an adjacency: non-negative integers, most rows short.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace gnn {

#ifdef GNN_X86
#define GNN_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GNN_CLONES
#endif

typedef int32_t Ints __attribute__((vector_size(64)));
constexpr int kInts = 16;
constexpr int64_t kRankLimit = 8 * kInts;

// Sort up to N vectors of integers by counting, for each, how many are smaller: no branch to
// mispredict. Equal ones share a rank; the gaps they leave are filled from the left.
template <int N>
inline __attribute__((always_inline)) void rank_sort(int32_t* first, int64_t size) {
  int32_t value[N * kInts], rank[N * kInts];
  std::memcpy(value, first, size * sizeof(int32_t));
  for (int64_t i = size; i < N * kInts; ++i) value[i] = -1;
  Ints values[N], ranks[N];
  std::memcpy(values, value, sizeof(value));
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) ranks[i] = Ints{};
  for (int64_t j = 0; j < size; ++j)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) ranks[i] -= values[i] > value[j];
  std::memcpy(rank, ranks, sizeof(rank));
  int64_t all = 0;
  for (int64_t i = 0; i < N * kInts; ++i) all += rank[i];  // those beyond size have rank 0
  if (all == size * (size - 1) / 2) {
    for (int64_t i = 0; i < size; ++i) first[rank[i]] = value[i];
    return;
  }
  for (int64_t i = 0; i < size; ++i) first[i] = -1;
  for (int64_t i = 0; i < size; ++i) first[rank[i]] = value[i];
  for (int64_t i = 1; i < size; ++i) first[i] = std::max(first[i], first[i - 1]);
}

// Sort non-negative integers by counting their bytes.
template <class T>
void byte_sort(T* first, T* last) {
  const int64_t size = last - first;
  thread_local std::vector<T> other;
  if (int64_t(other.size()) < size) other.resize(size);
  T top = 0;
  for (T* i = first; i < last; ++i) top |= *i;
  T *from = first, *to = other.data();
  for (int shift = 0; shift < int(sizeof(T)) * 8 && (uint64_t(top) >> shift); shift += 8) {
    int64_t count[257] = {0};
    for (int64_t i = 0; i < size; ++i) count[((from[i] >> shift) & 255) + 1]++;
    for (int i = 0; i < 256; ++i) count[i + 1] += count[i];
    for (int64_t i = 0; i < size; ++i) to[count[(from[i] >> shift) & 255]++] = from[i];
    std::swap(from, to);
  }
  if (from != first) std::memcpy(first, from, size * sizeof(T));
}

// Sort every row; row r ends at ends[r] and the first begins at `begin`.
GNN_CLONES inline void sort_rows(int32_t* values, int64_t begin, const int64_t* ends, int64_t rows) {
  for (int64_t row = 0; row < rows; begin = ends[row++]) {
    int32_t *first = values + begin, *last = values + ends[row];
    const int64_t size = last - first;
    if (size < 2) continue;
    if (size == 2) {
      const int32_t low = std::min(first[0], first[1]), high = std::max(first[0], first[1]);
      first[0] = low, first[1] = high;
    } else if (size <= kInts) {
      rank_sort<1>(first, size);
    } else if (size <= 2 * kInts) {
      rank_sort<2>(first, size);
    } else if (size <= 4 * kInts) {
      rank_sort<4>(first, size);
    } else if (size <= kRankLimit) {
      rank_sort<8>(first, size);
    } else {
      byte_sort(first, last);
    }
  }
}
inline void sort_rows(int64_t* values, int64_t begin, const int64_t* ends, int64_t rows) {
  for (int64_t row = 0; row < rows; begin = ends[row++])
    if (ends[row] - begin > kRankLimit) byte_sort(values + begin, values + ends[row]);
    else std::sort(values + begin, values + ends[row]);
}

}  // namespace gnn
