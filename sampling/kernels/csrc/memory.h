// Memory: arrays that live in huge pages when they are large. Independent random reads of a
// large array are bound by page walks; 2 MiB pages make them about three times cheaper.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace gnn {

constexpr size_t kHugePage = size_t(2) << 20;
constexpr size_t kHugeFrom = size_t(32) << 20;  // below this the allocator's own reuse is better

inline void* allocate(size_t bytes) {
  void* memory = nullptr;
  if (bytes >= kHugeFrom) {
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
  explicit Buffer(size_t size) : data_(static_cast<T*>(allocate(size * sizeof(T)))), size_(size) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }
  size_t size() const { return size_; }

  // Room for `size` values; what was inside is lost when it grows.
  void reserve(size_t size) {
    if (size > size_) *this = Buffer(size + size / 4);
  }
  // The memory, no longer owned; shorter than it was when only `size` values are meant.
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
