// How tables of rows and reductions come in from Python.
#pragma once
#include "bindings.h"
#include "rows.h"

namespace gnn {

inline Rows as_rows(const Any2& x, const std::optional<In<float>>& scale) {
  const auto type = x.dtype();
  Rows rows{x.data(), int64_t(x.shape(1)), Storage::kFloat32, nullptr};
  auto is = [&](nb::dlpack::dtype_code code, int bits) {
    return type.code == uint8_t(code) && type.bits == bits && type.lanes == 1;
  };
  if (is(nb::dlpack::dtype_code::Float, 32)) rows.storage = Storage::kFloat32;
  else if (is(nb::dlpack::dtype_code::Float, 16)) rows.storage = Storage::kFloat16;
  else if (is(nb::dlpack::dtype_code::UInt, 16)) rows.storage = Storage::kBfloat16;
  else if (is(nb::dlpack::dtype_code::Int, 8)) rows.storage = Storage::kInt8;
  else throw nb::type_error("rows must be float32, float16, uint16 (bfloat16 bits) or int8");
  if (scale) {
    require(scale->shape(0) == x.shape(1), "scale differs in length from the columns of x");
    rows.scale = scale->data();
  }
  return rows;
}

inline Reduce parse_reduce(const std::string& name) {
  if (name == "sum") return Reduce::kSum;
  if (name == "mean") return Reduce::kMean;
  if (name == "max") return Reduce::kMax;
  throw nb::value_error("reduce must be sum, mean or max");
}

}  // namespace gnn
