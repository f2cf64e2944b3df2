#include "worker/child/runner_spec.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/names.h"
#include "worker/child/exec_handler.h"

namespace joinq {

absl::StatusOr<RunnerSpec> ParseRunner(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos)
    return absl::InvalidArgumentError("must be NAME[,NAME...]='command args'");
  RunnerSpec spec;
  spec.names = absl::StrSplit(std::string(text.substr(0, equals)), ',');
  for (const auto& name : spec.names) {
    if (auto status = CheckName("handler name", name); !status.ok()) return status;
  }
  auto argv = SplitCommand(text.substr(equals + 1));
  if (!argv.ok())
    return absl::InvalidArgumentError(
        absl::StrCat("the command of \"", spec.names[0], "\" ", argv.status().message()));
  spec.argv = *std::move(argv);
  spec.command = absl::StrJoin(spec.argv, " ");
  auto program = FindProgram(spec.argv[0]);
  if (!program.ok()) return program.status();
  spec.program = *std::move(program);
  return spec;
}

}  // namespace joinq
