// What XLA calls of feed-forward layers: the operands of a batch and its layers, checked.
#pragma once

#include "buffers.h"
#include "layers.h"
#include "reading.h"

namespace mast {
namespace {

LayerRows read_rows(Operands& operands, int64_t* inputs) {
  LayerRows batch{-1, -1, nullptr, nullptr};
  batch.x = operands.floats({&batch.times, &batch.episodes, inputs});
  batch.rows = operands.ints({&batch.episodes});
  check_batch(operands, {batch.times, batch.episodes});
  return batch;
}

std::vector<Matrix> read_layers(Operands& operands, Table table, int64_t inputs) {
  std::vector<Matrix> layers;
  operands.network(table);
  do {
    int64_t outputs = -1;
    layers.push_back(operands.matrix(&outputs, &inputs));
    inputs = outputs;
  } while (operands.ok() && 3 * layers.size() < table.size());
  return layers;
}

ffi::Error LayersForward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table table,
                         int64_t threads) {
  Operands operands(args, results);
  int64_t inputs = -1;
  LayerRows batch = read_rows(operands, &inputs);
  const std::vector<Matrix> layers = read_layers(operands, table, inputs);
  int64_t outputs = layers.back().rows;
  float* y = operands.out({&batch.times, &batch.episodes, &outputs});
  if (!operands.complete()) return operands.error();
  layers_forward(batch, layers, y, for_each_on(pool, threads));
  return ffi::Error::Success();
}

ffi::Error LayersBackward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table table,
                          int64_t threads) {
  Operands operands(args, results);
  int64_t inputs = -1, outputs = table.size() >= 3 ? table[table.size() - 3] : -1;
  LayerRows batch = read_rows(operands, &inputs);
  const float* d_y = operands.floats({&batch.times, &batch.episodes, &outputs});
  const std::vector<Matrix> layers = read_layers(operands, table, inputs);
  float* d_x = operands.out({&batch.times, &batch.episodes, &inputs});
  std::vector<const Matrix*> each;
  for (const Matrix& m : layers) each.push_back(&m);
  const auto gradients = operands.gradients(each);
  if (!operands.complete()) return operands.error();
  layers_backward(batch, layers, d_y, d_x, gradients, for_each_on(pool, threads));
  return ffi::Error::Success();
}

}  // namespace
}  // namespace mast
