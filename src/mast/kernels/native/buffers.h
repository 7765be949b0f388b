// From the buffers of a foreign function call to matrices and shapes, each checked before it is used.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <string>

#include "gradients.h"
#include "tiles.h"
#include "xla/ffi/api/ffi.h"

namespace mast {

namespace ffi = xla::ffi;

// Reads the operands one after the other; the first thing that does not fit is kept as the error.
class Operands {
 public:
  Operands(ffi::RemainingArgs args, ffi::RemainingRets results) : args_(args), results_(results) {}

  // Sizes are what earlier operands said; a size of −1 is taken from this operand.
  template <ffi::DataType type>
  const ffi::NativeType<type>* in(std::initializer_list<int64_t*> shape) {
    auto buffer = args_.get<ffi::AnyBuffer>(next_in_++);
    if (!buffer || !fits(*buffer, type, shape)) return nullptr;
    return static_cast<const ffi::NativeType<type>*>(buffer->untyped_data());
  }

  const float* floats(std::initializer_list<int64_t*> shape) { return in<ffi::F32>(shape); }
  const int32_t* ints(std::initializer_list<int64_t*> shape) { return in<ffi::S32>(shape); }

  float* out(std::initializer_list<int64_t*> shape) {
    auto buffer = results_.get<ffi::AnyBuffer>(next_out_++);
    if (!buffer || !fits(**buffer, ffi::F32, shape)) return nullptr;
    return static_cast<float*>((*buffer)->untyped_data());
  }

  // Four buffers: values, bias, row pointers, column indices.
  Matrix matrix(int64_t* rows, int64_t* columns) {
    Matrix m;
    int64_t entries = -1, pointers = -1;
    m.values = floats({&entries});
    m.bias = floats({rows});
    m.row_pointers = ints({&pointers});
    m.column_indices = ints({&entries});
    m.rows = *rows;
    m.columns = *columns;
    m.entries = entries;
    if (ok() && pointers != m.rows + 1) fail("there must be one row pointer more than rows");
    if (ok()) {
      const std::string wrong = fault(m);
      if (!wrong.empty()) fail(wrong);
    }
    return m;
  }

  // Two results: of a layer's values and of its bias.
  Gradient gradient(const Matrix& m) {
    int64_t entries = m.entries, rows = m.rows;
    float* values = out({&entries});
    return {values, out({&rows})};
  }

  // Whether the next operand is in half precision.
  bool next_is_half() const {
    auto buffer = args_.get<ffi::AnyBuffer>(next_in_);
    return buffer && buffer->element_type() == ffi::F16;
  }

  size_t remaining() const { return args_.size() - next_in_; }

  void fail(const std::string& why) {
    if (error_.empty()) error_ = "operand " + std::to_string(next_in_) + ": " + why;
  }
  bool ok() const { return error_.empty(); }
  ffi::Error error() const { return ffi::Error::InvalidArgument("mast kernels, " + error_); }

 private:
  bool fits(const ffi::AnyBuffer& buffer, ffi::DataType type, std::initializer_list<int64_t*> shape) {
    const auto dimensions = buffer.dimensions();
    if (buffer.element_type() != type) {
      fail("another type of numbers is expected");
    } else if (dimensions.size() != shape.size()) {
      fail("another number of axes is expected");
    } else {
      size_t axis = 0;
      for (int64_t* size : shape) {
        const int64_t found = dimensions[axis++];
        if (*size == -1) *size = found;
        if (*size != found) {
          fail("axis " + std::to_string(axis - 1) + " has " + std::to_string(found) + ", expected " +
               std::to_string(*size));
        }
      }
    }
    return ok();
  }

  ffi::RemainingArgs args_;
  ffi::RemainingRets results_;
  size_t next_in_ = 0, next_out_ = 0;
  std::string error_;
};

// Work for at most `threads` threads of XLA's pool, the calling one among them. It takes part, so a pool
// that is busy elsewhere delays nothing; a task that comes too late finds no index left and touches nothing.
inline ForEach for_each_on(ffi::ThreadPool pool, int threads) {
  return [pool, threads](int n, const std::function<void(int)>& body) mutable {
    struct Shared {
      std::atomic<int> next{0}, done{0};
    };
    if (threads <= 1 || n <= 1) {
      for (int i = 0; i < n; ++i) body(i);
      return;
    }
    auto shared = std::make_shared<Shared>();
    const auto work = [shared, n, body = &body] {
      for (int i; (i = shared->next.fetch_add(1)) < n;) {
        (*body)(i);
        shared->done.fetch_add(1, std::memory_order_release);
      }
    };
    for (int i = 1; i < std::min(threads, n); ++i) pool.Schedule([work] { work(); });
    work();
    while (shared->done.load(std::memory_order_acquire) < n) std::this_thread::yield();
  };
}

}  // namespace mast
