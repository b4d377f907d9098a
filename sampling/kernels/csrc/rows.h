// Kernels over rows of features, compiled once per instruction set (see CMakeLists.txt).
#pragma once
#include <cstdint>

#include "isa.h"

namespace gnn {

enum class Storage { kFloat32, kFloat16, kBfloat16, kInt8 };
enum class Reduce { kSum, kMean, kMax };

// A row of more edges is cut into segments of this many, which are reduced one by one and then
// combined in order: the result is the same whether or not threads share the row.
constexpr int64_t kSegment = 1 << 16;

// A matrix of rows as it is stored; `scale` (columns,) belongs to int8.
struct Rows {
  const void* data;
  int64_t count;
  int64_t columns;
  Storage storage;
  const float* scale;
};

// Node indices of 32 or 64 bits.
struct Indices {
  const void* data;
  bool wide;  // 64

  int64_t operator[](int64_t e) const {
    return wide ? static_cast<const int64_t*>(data)[e] : static_cast<const int32_t*>(data)[e];
  }
};

// The edges of some destinations, and what to do with the rows at their other end.
struct Aggregation {
  const int64_t* indptr;
  Indices indices;           // of the sources
  const float* edge_weight;  // per edge, or null
  const float* node_weight;  // per source, or null
  Reduce reduce;
  float* out;    // (destinations, columns)
  int64_t* arg;  // the same shape: the winning edge, for kMax
  bool stream;   // out is too large to be found in a cache later
};

struct RowKernels {
  void (*gather)(const Rows&, const int64_t* rows, int64_t begin, int64_t end, float* out,
                 bool stream);
  // Rows begin … end, but for those of more than kSegment edges.
  void (*aggregate)(const Rows&, const Aggregation&, int64_t begin, int64_t end);
};

GNN_DECLARE_KERNELS(RowKernels, row_kernels)

}  // namespace gnn
