// Threads by argument: a function runs once per thread, an exception in any of them comes back.
// Threads are started per call, so nothing survives a fork and nothing runs between calls.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

namespace gnn {

// work(t) for t = 0 … threads - 1, the caller being thread 0.
template <class Work>
void run_threads(int threads, const Work& work) {
  if (threads <= 1) return work(0);
  std::vector<std::exception_ptr> failures(threads);
  auto guarded = [&](int t) {
    try {
      work(t);
    } catch (...) {
      failures[t] = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(threads - 1);
  int started = 1;
  try {
    for (; started < threads; ++started) others.emplace_back(guarded, started);
  } catch (...) {  // no more threads to be had: the caller does their share
  }
  guarded(0);
  for (int t = started; t < threads; ++t) guarded(t);
  for (auto& thread : others) thread.join();
  for (auto& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

// The share of `size` items that belongs to thread t.
inline std::pair<int64_t, int64_t> share(int64_t size, int t, int threads) {
  return {size * t / threads, size * (t + 1) / threads};
}

// work(begin, end) over pieces of 0 … size, taken by whichever thread is free.
template <class Work>
void parallel_pieces(int64_t size, int64_t piece, int threads, const Work& work) {
  threads = int(std::clamp<int64_t>((size + piece - 1) / piece, 1, threads));
  std::atomic<int64_t> next{0};
  run_threads(threads, [&](int) {
    for (;;) {
      int64_t begin = next.fetch_add(piece);
      if (begin >= size) return;
      work(begin, std::min(size, begin + piece));
    }
  });
}

// The first row whose edges start at or after `edge`.
inline int64_t row_at(const int64_t* indptr, int64_t rows, int64_t edge) {
  return std::lower_bound(indptr, indptr + rows, edge) - indptr;
}

// work(first_row, last_row) over pieces of about equally many edges.
template <class Work>
void parallel_rows(const int64_t* indptr, int64_t rows, int threads, const Work& work) {
  if (threads <= 1 || rows < 2) return work(0, rows);
  int64_t base = indptr[0], edges = indptr[rows] - base + rows, pieces = threads * 16;
  // An edge and a row count the same, so that runs of empty rows are shared out as well.
  auto cut = [&](int64_t p) {
    int64_t target = edges * p / pieces, low = 0, high = rows;
    while (low < high) {
      int64_t middle = (low + high) / 2;
      if (indptr[middle] - base + middle < target) low = middle + 1; else high = middle;
    }
    return low;
  };
  parallel_pieces(pieces, 1, threads, [&](int64_t p, int64_t) {
    int64_t first = p ? cut(p) : 0, last = p + 1 < pieces ? cut(p + 1) : rows;
    if (first < last) work(first, last);
  });
}

}  // namespace gnn
