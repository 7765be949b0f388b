// From the buffers of a foreign function call to matrices and shapes, each checked before it is used.
#pragma once

#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <thread>

#include "gradients.h"
#include "tiles.h"
#include "xla/ffi/api/ffi.h"

namespace mast {

namespace ffi = xla::ffi;

// Rows of a batch, and offsets in a tile, are 32-bit numbers.
constexpr int64_t kMostRows = int64_t{1} << 30;
constexpr int64_t kMostOffsets = std::numeric_limits<int32_t>::max() / (kTileVectors * kLanes);

// Whether a batch of these axes can be numbered; an empty axis hides none of the others.
inline bool can_be_numbered(std::initializer_list<int64_t> axes) {
  int64_t rows = 1;
  for (int64_t size : axes) {
    if (size > kMostRows) return false;
    rows *= std::max<int64_t>(size, 1);  // both factors are at most 2^30
    if (rows > kMostRows) return false;
  }
  return true;
}

// Whether every number of an array of these axes has a place; an empty axis hides none of the others.
inline bool can_be_placed(std::initializer_list<int64_t> axes) {
  double size = 1;
  for (int64_t axis : axes) size *= static_cast<double>(std::max<int64_t>(axis, 1));
  return size < 0x1p60;
}

// Reads the operands one after the other; the first thing that does not fit is kept as the error.
class Operands {
 public:
  Operands(ffi::RemainingArgs args, ffi::RemainingRets results) : args_(args), results_(results) {}

  // Sizes are what earlier operands said; a size of −1 is taken from this operand.
  template <ffi::DataType type>
  const ffi::NativeType<type>* in(std::initializer_list<int64_t*> shape) {
    auto buffer = args_.get<ffi::AnyBuffer>(next_in_++);
    if (!buffer) fail("is missing");
    if (!ok() || !fits(*buffer, type, shape)) return nullptr;
    return static_cast<const ffi::NativeType<type>*>(buffer->untyped_data());
  }

  const float* floats(std::initializer_list<int64_t*> shape) { return in<ffi::F32>(shape); }
  const int32_t* ints(std::initializer_list<int64_t*> shape) { return in<ffi::S32>(shape); }

  const bool* bools(std::initializer_list<int64_t*> shape) { return in<ffi::PRED>(shape); }

  float* out(std::initializer_list<int64_t*> shape) {
    auto buffer = results_.get<ffi::AnyBuffer>(next_out_++);
    if (!buffer) fail("a result is missing");
    if (!ok() || !fits(**buffer, ffi::F32, shape)) return nullptr;
    return static_cast<float*>((*buffer)->untyped_data());
  }

  // Rows of `size` numbers, as many as `rows` says or, where that is −1, as there are; any leading axes.
  template <ffi::DataType type>
  const ffi::NativeType<type>* rows(int64_t* rows, int64_t size) {
    auto buffer = args_.get<ffi::AnyBuffer>(next_in_++);
    if (!buffer) fail("is missing");
    if (!ok() || !are_rows(*buffer, type, rows, size)) return nullptr;
    return static_cast<const ffi::NativeType<type>*>(buffer->untyped_data());
  }

  template <ffi::DataType type>
  ffi::NativeType<type>* out_rows(int64_t* rows, int64_t size) {
    auto buffer = results_.get<ffi::AnyBuffer>(next_out_++);
    if (!buffer) fail("a result is missing");
    if (!ok() || !are_rows(**buffer, type, rows, size)) return nullptr;
    return static_cast<ffi::NativeType<type>*>((*buffer)->untyped_data());
  }

  // That many finite numbers; where one is not finite it is an error, as they decide what is read.
  const float* finite_floats(int64_t count) {
    const float* numbers = floats({&count});
    for (int64_t i = 0; ok() && i < count; ++i) {
      if (!std::isfinite(numbers[i])) fail("number " + std::to_string(i) + " must be finite");
    }
    return numbers;
  }

  // A network is two vectors: of each layer in turn its values and its bias, and of each layer in turn its
  // row pointers and its column indices. `table` has every layer's rows, columns and number of values; of
  // `layers` layers, or of one or more where that is 0.
  void network(ffi::Span<const int64_t> table, size_t layers = 0) {
    table_ = table;
    layer_ = 0;
    if (table.size() % 3 != 0 || table.size() == 0 || (layers > 0 && table.size() != 3 * layers)) {
      fail("the table of layers has " + std::to_string(table.size()) + " numbers, expected three for each layer");
    }
    int64_t numbers = 0, places = 0, offsets = 0, sizes[2] = {-1, -1};
    for (size_t i = 0; ok() && i < table.size(); i += 3) {
      const int64_t rows = table[i], columns = table[i + 1], entries = table[i + 2];
      if (rows < 0 || columns < 0 || entries < 0 || rows > kMostOffsets || columns > kMostOffsets ||
          entries > rows * columns) {
        fail("layer " + std::to_string(i / 3 + 1) + " cannot be [" + std::to_string(rows) + ", " +
             std::to_string(columns) + "] with " + std::to_string(entries) + " values");
        return;
      }
      numbers += entries + rows;
      places += rows + 1 + entries;
      offsets += rows + columns;
      if (offsets > kMostOffsets || places > std::numeric_limits<int32_t>::max()) fail("the network is too large");
    }
    parameters_ = floats({&sizes[0]});
    structure_ = ints({&sizes[1]});
    if (ok() && (sizes[0] != numbers || sizes[1] != places)) fail("the vectors do not fit the layers");
  }

  // The network's next layer, which must have this shape; a size of −1 is taken from it.
  Matrix matrix(int64_t* rows, int64_t* columns) {
    if (ok() && layer_ + 2 >= table_.size()) fail("a layer is missing");
    if (!ok()) return {};
    Matrix m;
    m.rows = table_[layer_];
    m.columns = table_[layer_ + 1];
    m.entries = table_[layer_ + 2];
    layer_ += 3;
    if (*rows == -1) *rows = m.rows;
    if (*columns == -1) *columns = m.columns;
    if (*rows != m.rows || *columns != m.columns) {
      fail("layer " + std::to_string(layer_ / 3) + " is [" + std::to_string(m.rows) + ", " +
           std::to_string(m.columns) + "], expected [" + std::to_string(*rows) + ", " + std::to_string(*columns) +
           "]");
      return {};
    }
    m.values = parameters_;
    m.bias = m.values + m.entries;
    parameters_ = m.bias + m.rows;
    m.row_pointers = structure_;
    m.column_indices = m.row_pointers + m.rows + 1;
    structure_ = m.column_indices + m.entries;
    const std::string wrong = fault(m);
    if (!wrong.empty()) fail("layer " + std::to_string(layer_ / 3) + ": " + wrong);
    return m;
  }

  // The gradient of a network, one vector as its parameters: of each of these layers in turn.
  std::vector<Gradient> gradients(const std::vector<const Matrix*>& layers) {
    int64_t size = 0;
    for (const Matrix* m : layers) size += m->entries + m->rows;
    float* next = out({&size});
    if (!ok()) return std::vector<Gradient>(layers.size());
    std::vector<Gradient> all;
    for (const Matrix* m : layers) {
      all.push_back({next, next + m->entries});
      next += m->entries + m->rows;
    }
    return all;
  }

  // Whether an operand that comes next, or `later` ones after it, is of this type.
  bool is_of(ffi::DataType type, size_t later = 0) const {
    auto buffer = args_.get<ffi::AnyBuffer>(next_in_ + later);
    return buffer && buffer->element_type() == type;
  }
  bool next_is_half() const { return is_of(ffi::F16); }

  // How many axes the next operand has; 0 where there is none.
  size_t next_axes() const {
    auto buffer = args_.get<ffi::AnyBuffer>(next_in_);
    return buffer ? buffer->dimensions().size() : 0;
  }

  // As `ints`, each from `least` to `most`.
  const int32_t* ints_from(const char* name, int64_t least, int64_t most, int64_t* count) {
    const int32_t* numbers = ints({count});
    for (int64_t i = 0; ok() && i < *count; ++i) {
      if (numbers[i] >= least && numbers[i] <= most) continue;
      fail(std::string(name) + " " + std::to_string(numbers[i]) + ", expected " + std::to_string(least) + " to " +
           std::to_string(most));
    }
    return numbers;
  }

  size_t remaining() const { return args_.size() - std::min(next_in_, args_.size()); }

  // Whether all is well, and nothing was given or asked for that no one read or will write.
  bool complete() {
    if (next_in_ < args_.size()) fail("there are more operands than expected");
    if (next_out_ < results_.size()) fail("there are more results than expected");
    return ok();
  }

  __attribute__((cold, noinline)) void fail(const std::string& why) {
    if (error_.empty()) error_ = "operand " + std::to_string(next_in_) + ": " + why;
  }
  __attribute__((cold, noinline)) void fail(const char* why) { fail(std::string(why)); }
  bool ok() const { return error_.empty(); }
  ffi::Error error() const { return ffi::Error::InvalidArgument("mast kernels, " + error_); }

 private:
  bool are_rows(const ffi::AnyBuffer& buffer, ffi::DataType type, int64_t* rows, int64_t size) {
    const int64_t count = static_cast<int64_t>(buffer.element_count());
    if (buffer.element_type() != type) {
      fail("another type of numbers is expected");
    } else if (*rows == -1 && count % size == 0) {
      *rows = count / size;
    } else if (*rows == -1 || count != *rows * size) {
      fail("has " + std::to_string(count) + " numbers, expected rows of " + std::to_string(size) +
           (*rows == -1 ? "" : ", " + std::to_string(*rows) + " of them"));
    }
    return ok();
  }

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
        if (found > std::numeric_limits<int32_t>::max()) {
          fail("axis " + std::to_string(axis - 1) + " is too long");
          return false;
        }
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
  ffi::Span<const int64_t> table_;
  size_t layer_ = 0;
  const float* parameters_ = nullptr;
  const int32_t* structure_ = nullptr;
  std::string error_;
};

// Work for at most `threads` threads of XLA's pool, the calling one among them. It takes part, so a pool
// that is busy elsewhere delays nothing; a task that comes too late finds no index left and touches nothing.
inline ForEach for_each_on(ffi::ThreadPool pool, int64_t threads) {
  return [pool, threads](int n, const std::function<void(int)>& body) mutable {
    struct Shared {
      std::atomic<int> next{0}, done{0};
      std::atomic<bool> no_memory{false};
    };
    if (threads <= 1 || n <= 1) {
      for (int i = 0; i < n; ++i) body(i);
      return;
    }
    auto shared = std::make_shared<Shared>();
    const auto work = [shared, n, body = &body] {
      for (int i; (i = shared->next.fetch_add(1)) < n;) {
        try {
          (*body)(i);
        } catch (const std::bad_alloc&) {  // must not leave a thread of XLA's
          shared->no_memory = true;
        }
        shared->done.fetch_add(1, std::memory_order_release);
      }
    };
    for (int i = 1; i < std::min<int64_t>(threads, n); ++i) pool.Schedule([work] { work(); });
    work();
    while (shared->done.load(std::memory_order_acquire) < n) std::this_thread::yield();
    if (shared->no_memory) throw std::bad_alloc();
  };
}

}  // namespace mast
