// Memory: arrays that live in huge pages when they are large. Independent random reads of a
// large array are bound by page walks; 2 MiB pages make them about three times cheaper.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace gnn {

constexpr size_t kHugePage = size_t(2) << 20;
// From which size on huge pages pay: results come and go with every batch, and up to here the
// allocator's own reuse is better; scratch memory stays.
constexpr size_t kHugeResult = size_t(32) << 20, kHugeScratch = kHugePage;

inline void* allocate(size_t bytes, size_t huge_from = kHugeResult) {
  void* memory = nullptr;
  if (bytes >= huge_from) {
    bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    if (posix_memalign(&memory, kHugePage, bytes) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  } else if (posix_memalign(&memory, 64, bytes ? bytes : 64) != 0) {
    throw std::bad_alloc();
  }
  return memory;
}

// An uninitialized array of trivial values; freed with `free`.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t size, size_t huge_from = kHugeResult)
      : data_(static_cast<T*>(allocate(size * sizeof(T), huge_from))), size_(size) {}
  Buffer(Buffer&& other) noexcept
      : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }
  size_t size() const { return size_; }

  // Room for `size` values of scratch; the first `keep` stay.
  void reserve(size_t size, size_t keep) {
    if (size <= size_) return;
    Buffer larger(size + size / 2, kHugeScratch);
    if (keep) std::memcpy(larger.data(), data(), keep * sizeof(T));
    *this = std::move(larger);
  }
  // The memory, no longer owned.
  T* release() {
    size_ = 0;
    return data_.release();
  }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace gnn
