// Integers in text, by the fastest of paths: lines of a fixed number of plain integers. Anything
// else in a block (quotes, spaces, empty lines, 19 digits) makes it somebody else's to read.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "parallel.h"

namespace gnn {

constexpr int kMostDigits = 18;  // whatever has no more of them fits an int64

// Parse lines; column c of line r goes to out[c * stride + r]. False where a line is not plain.
inline bool parse_lines(const uint8_t* at, const uint8_t* end, uint8_t delimiter, int columns,
                        int64_t* out, int64_t stride) {
  for (int64_t row = 0; at < end; ++row) {
    for (int c = 0; c < columns; ++c) {
      const bool negative = *at == '-';
      if (negative) ++at;
      const uint8_t* first = at;
      int64_t value = 0;
      for (uint8_t digit; (digit = uint8_t(*at - '0')) < 10; ++at)
        value = int64_t(uint64_t(value) * 10 + digit);
      if (at == first || at - first > kMostDigits) return false;
      if (*at++ != (c + 1 < columns ? delimiter : '\n')) return false;
      out[c * stride + row] = negative ? -value : value;
    }
  }
  return true;
}

// Where pieces of about equal size begin, each at the start of a line; the text ends with a line.
inline std::vector<const uint8_t*> line_pieces(const uint8_t* text, int64_t size, int64_t pieces) {
  std::vector<const uint8_t*> starts{text};
  for (int64_t p = 1; p < pieces; ++p) {
    const uint8_t* from = std::max(text + size * p / pieces, starts.back());
    const void* line = std::memchr(from, '\n', text + size - from);
    starts.push_back(line ? static_cast<const uint8_t*>(line) + 1 : text + size);
  }
  starts.push_back(text + size);
  return starts;
}

}  // namespace gnn
