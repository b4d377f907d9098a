// Memory: arrays that live in huge pages when they are large, and are handed on when they are let
// go. Independent random reads of a large array are bound by page walks, which 2 MiB pages make
// about three times cheaper; and a batch's arrays are as large as those of the batch before, whose
// pages need not be fetched from the system, cleared and given back each time.
#pragma once
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace gnn {

constexpr size_t kHugePage = size_t(2) << 20;
constexpr size_t kLine64 = 64;
// From which size on huge pages pay: results come and go with every batch, scratch memory stays.
constexpr size_t kHugeResult = size_t(32) << 20, kHugeScratch = kHugePage;

// Memory that was let go and waits for the next one who needs about as much. No locks, so a fork
// finds it usable at any time.
class Recycler {
 public:
  static constexpr size_t kLeast = size_t(256) << 10;  // below, malloc is as good
#ifdef __SANITIZE_ADDRESS__
  static constexpr size_t kMost = 0;  // whoever uses memory after letting it go is to be found
#else
  static constexpr size_t kMost = size_t(256) << 20;  // kept in all
#endif
  static Recycler& instance() {
    static Recycler recycler;
    return recycler;
  }

  // A block of `bytes` to twice that, or null. A block starts with its size.
  void* take(size_t bytes) {
    if (bytes < kLeast || bytes > kMost) return nullptr;
    for (auto& slot : slots_) {
      void* block = slot.load() ? slot.exchange(nullptr) : nullptr;
      if (!block) continue;
      kept_ -= size_of(block);
      if (size_of(block) >= bytes && size_of(block) <= 2 * bytes) return block;
      give(block);
    }
    return nullptr;
  }
  // Keep a block, or free it. The oldest make room for it.
  void give(void* block) {
    const size_t bytes = size_of(block);
    if (bytes < kLeast || bytes > kMost) return std::free(block);
    kept_ += bytes;
    drop(slots_[turn_.fetch_add(1) % slots_.size()].exchange(block));
    for (size_t i = 0; i < slots_.size() && kept_ > kMost; ++i)
      drop(slots_[(turn_ + i) % slots_.size()].exchange(nullptr));
  }
  static size_t& size_of(void* block) { return *static_cast<size_t*>(block); }

 private:
  void drop(void* block) {
    if (!block) return;
    kept_ -= size_of(block);
    std::free(block);
  }

  std::array<std::atomic<void*>, 64> slots_{};
  std::atomic<size_t> kept_{0}, turn_{0};
};

// Uninitialized memory, aligned to a cache line; its size lies in the line before it.
inline void* allocate(size_t bytes, size_t huge_from = kHugeResult) {
  if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
  size_t total = bytes + kLine64;
  void* block = Recycler::instance().take(total);
  if (!block && bytes >= huge_from) {
    total = (total + kHugePage - 1) / kHugePage * kHugePage;
    if (posix_memalign(&block, kHugePage, total) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    madvise(block, total, MADV_HUGEPAGE);
#endif
    Recycler::size_of(block) = total;
  } else if (!block) {
    if (posix_memalign(&block, kLine64, total) != 0) throw std::bad_alloc();
    Recycler::size_of(block) = total;
  }
  return static_cast<char*>(block) + kLine64;
}

inline void deallocate(void* memory) noexcept {
  if (!memory) return;
  Recycler::instance().give(static_cast<char*>(memory) - kLine64);
}

// An uninitialized array of trivial values; freed with `deallocate`.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t size, size_t huge_from = kHugeResult)
      : data_(static_cast<T*>(allocate(bytes_of(size), huge_from))), size_(size) {}
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
  static size_t bytes_of(size_t size) {
    if (size > SIZE_MAX / 2 / sizeof(T)) throw std::bad_alloc();
    return size * sizeof(T);
  }
  struct Free {
    void operator()(T* p) const { deallocate(p); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace gnn
