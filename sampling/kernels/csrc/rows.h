// Kernels over rows of features, compiled once per instruction set (see CMakeLists.txt).
#pragma once
#include <cstdint>

#include "isa.h"

namespace gnn {

enum class Storage { kFloat32, kFloat16, kBfloat16, kInt8 };
enum class Reduce { kSum, kMean, kMax };

// A matrix of rows as it is stored; `scale` (columns,) belongs to int8.
struct Rows {
  const void* data;
  int64_t columns;
  Storage storage;
  const float* scale;
};

// The edges of some destinations, and what to do with the rows at their other end.
struct Aggregation {
  const int64_t* indptr;
  const void* indices;  // int32 or int64
  bool wide;            // int64
  const float* weight;  // per edge, or null
  Reduce reduce;
  float* out;    // (destinations, columns)
  int64_t* arg;  // the same shape: the winning edge, for kMax
};

struct RowKernels {
  void (*gather)(const Rows&, const int64_t* rows, int64_t begin, int64_t end, float* out);
  void (*aggregate)(const Rows&, const Aggregation&, int64_t begin, int64_t end);
};

GNN_DECLARE_KERNELS(RowKernels, row_kernels)

}  // namespace gnn
