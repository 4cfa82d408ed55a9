// Loads a SavedModel as TensorFlow Serving does and runs requests.
//
//   loader MODEL REQUEST_FOLDER ...
//
// A request's folder holds the name of a signature in `signature`, the names of its inputs in `inputs`, one a line, and
// for each a serialized TensorProto in `input-<line>.pb`. The program adds `outputs` and `output-<line>.pb`.

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/public/session.h"

namespace {

int fail(const std::string& what) {
  std::cerr << what << std::endl;
  return 1;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

std::vector<std::string> lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> found;
  for (std::string line; std::getline(file, line);) found.push_back(line);
  return found;
}

int answer(const tensorflow::SavedModelBundle& bundle, const std::string& folder) {
  const std::string name = lines(folder + "/signature").at(0);
  const auto& signatures = bundle.GetSignatures();
  const auto found = signatures.find(name);
  if (found == signatures.end()) return fail("no signature " + name);
  const auto& signature = found->second;

  std::vector<std::pair<std::string, tensorflow::Tensor>> inputs;
  for (const std::string& key : lines(folder + "/inputs")) {
    const auto input = signature.inputs().find(key);
    if (input == signature.inputs().end()) return fail(name + " has no input " + key);
    const std::string file = folder + "/input-" + std::to_string(inputs.size()) + ".pb";
    tensorflow::TensorProto proto;
    tensorflow::Tensor tensor;
    if (!proto.ParseFromString(contents(file)) || !tensor.FromProto(proto)) return fail("no tensor in " + file);
    inputs.emplace_back(input->second.name(), tensor);
  }

  std::ofstream names(folder + "/outputs");
  std::vector<std::string> fetches;
  for (const auto& [key, info] : signature.outputs()) {
    names << key << "\n";
    fetches.push_back(info.name());
  }
  std::vector<tensorflow::Tensor> outputs;
  const auto status = bundle.GetSession()->Run(inputs, fetches, {}, &outputs);
  if (!status.ok()) return fail(name + ": " + std::string(status.message()));
  for (size_t place = 0; place < outputs.size(); ++place) {
    tensorflow::TensorProto proto;
    outputs[place].AsProtoField(&proto);
    std::ofstream file(folder + "/output-" + std::to_string(place) + ".pb", std::ios::binary);
    if (!proto.SerializeToOstream(&file)) return fail("could not write an output of " + name);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return fail("usage: loader MODEL REQUEST_FOLDER ...");
  tensorflow::SavedModelBundle bundle;
  const auto status =
      tensorflow::LoadSavedModel(tensorflow::SessionOptions(), tensorflow::RunOptions(), argv[1], {"serve"}, &bundle);
  if (!status.ok()) return fail(std::string(status.message()));
  for (int place = 2; place < argc; ++place) {
    if (const int code = answer(bundle, argv[place])) return code;
  }
  return 0;
}
