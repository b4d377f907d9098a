// Weighted draws in constant time: the alias method (Walker 1977, Vose 1991).
//
// The weights of a row become integers whose sum is exactly degree * 2^32, so the table is exact
// for them: an edge is drawn with its share of the row's weight, to within 2^-32 of the mean share,
// and never when its weight is zero. One 64-bit word makes a draw: the high half of word * degree
// is the column, the low half decides between the column and its alias.
#pragma once
#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "memory.h"
#include "parallel.h"

namespace gnn {

constexpr uint64_t kFull = uint64_t(1) << 32;       // what a column of the table holds
constexpr uint64_t kNoEdge = kFull - 1;             // the alias in a row without any weight
constexpr int64_t kSumRun = 4096;

// Sum in runs, whose rounding errors grow with the length of a run and the number of runs.
inline double row_weight(const float* weight, int64_t degree) {
  double total = 0;
  for (int64_t run = 0; run < degree; run += kSumRun) {
    double sum = 0;
    for (int64_t i = run; i < std::min(degree, run + kSumRun); ++i) sum += double(weight[i]);
    total += sum;
  }
  return total;
}

// Shares of `degree * 2^32` in proportion to the weights; what rounding leaves goes to the largest.
inline void row_shares(const float* weight, int64_t degree, double total, uint64_t* shares) {
  const double scale = double(degree) * 4294967296.0 / total;
  uint64_t sum = 0;
  int64_t largest = 0;
  for (int64_t i = 0; i < degree; ++i) {
    shares[i] = std::max(uint64_t(double(weight[i]) * scale), uint64_t(weight[i] > 0));
    sum += shares[i];
    if (weight[i] > weight[largest]) largest = i;
  }
  shares[largest] += uint64_t(degree) * kFull - sum;
}

// One row of the table: threshold in the high half of an entry, alias in the low one.
inline void alias_row(const float* weight, int64_t degree, uint64_t* table,
                      std::vector<uint64_t>& shares, std::vector<uint32_t>& columns) {
  const double total = row_weight(weight, degree);
  if (!(total > 0)) {
    std::fill_n(table, degree, kNoEdge);
    return;
  }
  shares.resize(degree);
  columns.resize(degree);
  row_shares(weight, degree, total, shares.data());
  // Columns that lack something are stacked from the front, the others from the back.
  int64_t lacking = 0, others = degree;
  for (int64_t i = 0; i < degree; ++i)
    columns[shares[i] < kFull ? lacking++ : --others] = uint32_t(i);
  while (lacking > 0) {
    const uint32_t column = columns[--lacking], giver = columns[others];
    table[column] = shares[column] << 32 | giver;
    shares[giver] -= kFull - shares[column];
    if (shares[giver] < kFull) {
      columns[lacking++] = giver;
      ++others;
    }
  }
  for (; others < degree; ++others) table[columns[others]] = columns[others];
}

inline Buffer<uint64_t> alias_table(const int64_t* indptr, int64_t rows, const float* weight,
                                    int threads) {
  Buffer<uint64_t> table(indptr[rows], kHugeScratch);
  parallel_rows(indptr, rows, threads, [&](int64_t first, int64_t last) {
    std::vector<uint64_t> shares;
    std::vector<uint32_t> columns;
    for (int64_t v = first; v < last; ++v) {
      const int64_t start = indptr[v], degree = indptr[v + 1] - start;
      if (degree < 0 || start < 0 || start + degree > indptr[rows])
        throw std::invalid_argument("indptr falls");
      if (degree >> 31) throw std::length_error("a node has 2^31 in-neighbors or more");
      alias_row(weight + start, degree, table.data() + start, shares, columns);
    }
  });
  return table;
}


// The position that `word` draws from a row; kNoEdge from a row without any weight.
inline uint64_t alias_pick(const uint64_t* row, int64_t degree, uint64_t word) {
  const unsigned __int128 product = (unsigned __int128)word * uint64_t(degree);
  const uint64_t column = uint64_t(product >> 64), entry = row[column];
  return uint64_t(product) >> 32 < entry >> 32 ? column : entry & kNoEdge;
}

}  // namespace gnn
