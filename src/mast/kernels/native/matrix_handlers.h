// What XLA calls for a single sparse matrix: its products and its gradient.
#pragma once

#include <string>

#include "buffers.h"
#include "matrices.h"
#include "reading.h"

namespace mast {
namespace {

// A matrix's structure: pointers [rows + 1], indices and, where `with_places`, places [entries].
Structure read_structure(Operands& operands, int64_t columns, int64_t entries, bool with_places) {
  Structure s;
  s.columns = columns;
  s.entries = entries;
  int64_t pointers = -1;
  s.pointers = operands.ints({&pointers});
  s.indices = operands.ints({&s.entries});
  if (with_places) s.places = operands.ints({&s.entries});
  s.rows = pointers - 1;
  if (operands.ok() && pointers < 1) operands.fail("pointers are missing");
  if (operands.ok()) {
    const std::string wrong = fault(s);
    if (!wrong.empty()) operands.fail(wrong);
  }
  return s;
}

ffi::Error MatrixProduct(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, int64_t threads) {
  Operands operands(args, results);
  int64_t batch = -1, columns = -1, entries = -1;
  const float* x = operands.floats({&batch, &columns});
  const float* values = operands.floats({&entries});
  const Structure s = read_structure(operands, columns, entries, false);
  int64_t rows = s.rows;
  float* y = operands.ok() ? operands.out({&batch, &rows}) : nullptr;
  check_batch(operands, {batch, 1});
  if (!operands.complete()) return operands.error();
  matrix_product(s, values, batch, x, y, threads, for_each_on(pool, threads));
  return ffi::Error::Success();
}

ffi::Error MatrixTransposedProduct(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results,
                                   int64_t threads) {
  Operands operands(args, results);
  int64_t batch = -1, rows = -1, columns = -1, entries = -1;
  const float* x = operands.floats({&batch, &rows});
  const float* values = operands.floats({&entries});
  float* y = operands.out({&batch, &columns});
  const Structure by_rows = read_structure(operands, columns, entries, false);
  const Structure by_columns = read_structure(operands, rows, entries, true);
  if (operands.ok() && (by_rows.rows != rows || by_columns.rows != columns)) {
    operands.fail("another number of rows or columns is expected");
  }
  check_batch(operands, {batch, 1});
  if (!operands.complete()) return operands.error();
  if (batch == 1) {
    scattered_product(by_rows, values, x, y);
  } else {
    matrix_product(by_columns, values, batch, x, y, threads, for_each_on(pool, threads));
  }
  return ffi::Error::Success();
}

ffi::Error MatrixGradient(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, int64_t threads) {
  Operands operands(args, results);
  int64_t batch = -1, columns = -1, rows = -1, entries = -1;
  const float* d_y = operands.floats({&batch, &rows});
  const float* x = operands.floats({&batch, &columns});
  float* d_values = operands.out({&entries});
  const Structure s = read_structure(operands, columns, entries, false);
  if (operands.ok() && s.rows != rows) operands.fail("another number of rows is expected");
  check_batch(operands, {batch, 1});
  if (!operands.complete()) return operands.error();
  matrix_gradient(s, batch, d_y, x, d_values, threads, for_each_on(pool, threads));
  return ffi::Error::Success();
}

}  // namespace
}  // namespace mast
