// Products of rows with weight matrices, and rounding to storage types; compiled once per
// instruction set (see CMakeLists.txt).
#pragma once
#include "rows.h"

namespace gnn {

// Rows (n, width) float32 beside the weight that they are multiplied by, which is packed.
struct Operand {
  const float* rows;
  int64_t width;
  const float* weight;
};

// out = relu?(bias + added + sum of rows · weight), every row on its own: the same bits in a tile
// of any size.
struct Product {
  Operand operands[2];
  int count;
  const float* bias;   // (columns,), or null
  const float* added;  // (n, columns), or null
  bool relu;
  int64_t columns;
};

struct DenseKernels {
  // A weight (columns, width) as torch keeps it → panels of columns side by side, padded with 0.
  int64_t (*packed_size)(int64_t columns, int64_t width);
  void (*pack)(const float* weight, int64_t columns, int64_t width, float* packed);
  void (*multiply)(const Product&, int64_t rows, float* out);
  // `count` rows in the storage type of `to`, from float32, which are left where they are if that
  // is their type. False where a value is not finite or too large; `error` grows to the largest
  // difference.
  bool (*encode)(const float* rows, int64_t count, const Rows& to, void* out, float* error);
};

GNN_DECLARE_KERNELS(DenseKernels, dense_kernels)

}  // namespace gnn
