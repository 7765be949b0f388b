// A call of a function that XLA calls, made by hand: its operands, each in a buffer of its own, and the call frame.
#pragma once

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "xla/ffi/api/ffi.h"

struct XLA_FFI_Error {
  std::string message;
};

namespace {

std::mt19937_64 generator(0);

int64_t below(int64_t n) { return static_cast<int64_t>(generator() % static_cast<uint64_t>(n)); }
int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }

template <typename T>
T one_of(std::initializer_list<T> choices) {
  return *(choices.begin() + below(static_cast<int64_t>(choices.size())));
}

int64_t size_of(XLA_FFI_DataType type) {
  switch (type) {
    case XLA_FFI_DataType_PRED: case XLA_FFI_DataType_U8: return 1;
    case XLA_FFI_DataType_F16: case XLA_FFI_DataType_S16: return 2;
    case XLA_FFI_DataType_F64: return 8;
    default: return 4;
  }
}

constexpr int64_t kMostBytes = int64_t{1} << 22;

// A buffer that owns its numbers; `raw` is exactly as long as its shape says, and null where that is empty.
struct Buffer {
  XLA_FFI_DataType type;
  std::vector<int64_t> dims;
  std::unique_ptr<char[]> raw;

  int64_t bytes() const {
    int64_t size = size_of(type);
    for (int64_t d : dims) {
      if (d == 0) return 0;
    }
    for (int64_t d : dims) size = d > kMostBytes / size ? kMostBytes + 1 : size * d;
    return size;
  }
  int64_t count() const { return bytes() / size_of(type); }
  template <typename T>
  T* as() { return reinterpret_cast<T*>(raw.get()); }

  // Numbers of the type that its shape has now; false where there would be too many.
  bool allot() {
    if (bytes() > kMostBytes) return false;
    raw.reset(bytes() ? new char[bytes()] : nullptr);
    for (int64_t i = 0; i < count(); ++i) {
      if (type == XLA_FFI_DataType_F32) as<float>()[i] = static_cast<float>(below(2001)) / 1000 - 1;
      if (type == XLA_FFI_DataType_F64) as<double>()[i] = 1;
      if (type == XLA_FFI_DataType_F16) as<uint16_t>()[i] = static_cast<uint16_t>(0x3000 + below(4096));
      if (type == XLA_FFI_DataType_U32) as<uint32_t>()[i] = static_cast<uint32_t>(generator());
      if (type == XLA_FFI_DataType_U8) raw[i] = static_cast<char>(below(256));
      if (type == XLA_FFI_DataType_S16) as<int16_t>()[i] = static_cast<int16_t>(between(-1, 4));
      if (type == XLA_FFI_DataType_PRED) raw[i] = i % 3 != 1;
      if (type == XLA_FFI_DataType_S32) as<int32_t>()[i] = static_cast<int32_t>(between(-1, 4));
    }
    return true;
  }
};

Buffer made(XLA_FFI_DataType type, std::vector<int64_t> dims) {
  Buffer b{type, std::move(dims), nullptr};
  b.allot();
  return b;
}

constexpr auto F32 = XLA_FFI_DataType_F32, S32 = XLA_FFI_DataType_S32, PRED = XLA_FFI_DataType_PRED;

struct Call {
  const char* name = "";
  XLA_FFI_Handler* handler = nullptr;
  std::vector<Buffer> operands{}, results{};
  std::vector<int64_t> table{};
  std::vector<float> numbers{};
  std::vector<size_t> structures{}, counts{}, methods{};  // which operands are these
  int64_t threads = 1, mixing = 0;
  bool takes_table = true, takes_mixing = false, takes_numbers = false, takes_threads_only = false,
       may_be_refused = false;
};

XLA_FFI_Error* create(XLA_FFI_Error_Create_Args* args) { return new XLA_FFI_Error{args->message}; }
void message_of(XLA_FFI_Error_GetMessage_Args* args) { args->message = args->error->message.c_str(); }
void destroy(XLA_FFI_Error_Destroy_Args* args) { delete args->error; }
XLA_FFI_Error* schedule(XLA_FFI_ThreadPool_Schedule_Args* args) {
  args->task(args->data);
  return nullptr;
}

// Calls the handler; what it answered, or an empty string where it succeeded.
std::string answer(Call& c) {
  XLA_FFI_Api api{};
  api.struct_size = XLA_FFI_Api_STRUCT_SIZE;
  api.XLA_FFI_Error_Create = create;
  api.XLA_FFI_Error_GetMessage = message_of;
  api.XLA_FFI_Error_Destroy = destroy;
  api.XLA_FFI_ThreadPool_Schedule = schedule;
  const auto described = [](std::vector<Buffer>& all) {
    std::vector<XLA_FFI_Buffer> made;
    for (Buffer& b : all) {
      made.push_back({XLA_FFI_Buffer_STRUCT_SIZE, nullptr, b.type, b.raw.get(), static_cast<int64_t>(b.dims.size()),
                      b.dims.data()});
    }
    return made;
  };
  std::vector<XLA_FFI_Buffer> operands = described(c.operands), results = described(c.results);
  std::vector<void*> arg, ret;
  for (auto& b : operands) arg.push_back(&b);
  for (auto& b : results) ret.push_back(&b);
  std::vector<XLA_FFI_ArgType> arg_types(arg.size(), XLA_FFI_ArgType_BUFFER);
  std::vector<XLA_FFI_RetType> ret_types(ret.size(), XLA_FFI_RetType_BUFFER);

  XLA_FFI_Array table{XLA_FFI_DataType_S64, c.table.size(), c.table.data()};
  XLA_FFI_Scalar mixing{XLA_FFI_DataType_S64, &c.mixing}, threads{XLA_FFI_DataType_S64, &c.threads};
  float number = 0.5f;
  XLA_FFI_Scalar real{F32, &number};
  std::vector<std::string> names;  // in the order of the alphabet
  std::vector<void*> attributes;
  std::vector<XLA_FFI_AttrType> types;
  XLA_FFI_Array given{F32, c.numbers.size(), c.numbers.data()};
  if (c.takes_numbers) {
    names = {"numbers", "sizes"};
    attributes = {&given, &table};
    types = {XLA_FFI_AttrType_ARRAY, XLA_FFI_AttrType_ARRAY};
  } else if (c.takes_threads_only) {
    names = {"threads"};
    attributes = {&threads};
    types = {XLA_FFI_AttrType_SCALAR};
  } else if (c.takes_table) {
    names = {"layers", "threads"};
    attributes = {&table, &threads};
    types = {XLA_FFI_AttrType_ARRAY, XLA_FFI_AttrType_SCALAR};
    if (c.takes_mixing) {
      names = {"layers", "mixing", "threads"};
      attributes = {&table, &mixing, &threads};
      types = {XLA_FFI_AttrType_ARRAY, XLA_FFI_AttrType_SCALAR, XLA_FFI_AttrType_SCALAR};
    }
  } else {
    names = {"decay", "epsilon", "largest_norm"};
    attributes.assign(3, &real);
    types.assign(3, XLA_FFI_AttrType_SCALAR);
  }
  std::vector<XLA_FFI_ByteSpan> spans;
  for (const std::string& name : names) spans.push_back({name.data(), name.size()});
  std::vector<XLA_FFI_ByteSpan*> span;
  for (auto& each : spans) span.push_back(&each);

  XLA_FFI_CallFrame frame{};
  frame.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;
  frame.api = &api;
  frame.stage = XLA_FFI_ExecutionStage_EXECUTE;
  frame.args = {XLA_FFI_Args_STRUCT_SIZE, nullptr, static_cast<int64_t>(arg.size()), arg_types.data(), arg.data()};
  frame.rets = {XLA_FFI_Rets_STRUCT_SIZE, nullptr, static_cast<int64_t>(ret.size()), ret_types.data(), ret.data()};
  frame.attrs = {XLA_FFI_Attrs_STRUCT_SIZE, nullptr, static_cast<int64_t>(span.size()), types.data(), span.data(),
                 attributes.data()};
  const std::unique_ptr<XLA_FFI_Error> error(c.handler(&frame));
  return error ? "refused: " + error->message : "";
}

}  // namespace
