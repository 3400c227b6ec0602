#include "tests/bench/measurement.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <string>

namespace legated::bench {
namespace {

uint32_t percentile_of(std::vector<uint32_t>& values, size_t percent) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() * percent / 100);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

Measurement::Measurement(const LoadOptions& options)
    : window_(options.window),
      calls_wanted_(options.calls),
      processes_(options.processes),
      warm_until_(Clock::now() + std::chrono::duration_cast<Clock::duration>(options.warm_up)) {
  processes_.insert(processes_.begin(), getpid());
  latencies_ns_.reserve(1 << 20);
}

void Measurement::on_call(Time begun, Time now, uint64_t bytes) {
  switch (phase_) {
    case Phase::warm_up:
      if (now >= warm_until_) begin_window(now);
      return;
    case Phase::window:
      bytes_ += bytes;
      latencies_ns_.push_back(static_cast<uint32_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(now - begun).count()));
      if (calls_wanted_ != 0 ? latencies_ns_.size() == calls_wanted_ : now - begun_ >= window_)
        end_window(now);
      return;
    case Phase::over: return;
  }
}

void Measurement::begin_window(Time now) {
  phase_ = Phase::window;
  begun_ = now;
  for (const pid_t process : processes_) usage_.push_back(usage_of(process));
  busy_us_ = machine_busy_us();
}

void Measurement::end_window(Time now) {
  phase_ = Phase::over;
  ended_ = now;
  busy_us_ = machine_busy_us() - busy_us_;
  for (size_t i = 0; i < processes_.size(); ++i) {
    const Usage before = usage_[i];
    const Usage after = usage_of(processes_[i]);
    usage_[i] = {after.cpu_us - before.cpu_us, after.voluntary - before.voluntary,
                 after.involuntary - before.involuntary};
  }
}

Measurement::Usage Measurement::usage_of(pid_t process) {
  Usage usage;
  const std::filesystem::path tasks = "/proc/" + std::to_string(process) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    double nanoseconds = 0;
    std::ifstream(task.path() / "schedstat") >> nanoseconds;
    usage.cpu_us += nanoseconds / 1000;
    std::ifstream status(task.path() / "status");
    for (std::string key; status >> key;) {
      if (key == "voluntary_ctxt_switches:" || key == "nonvoluntary_ctxt_switches:") {
        uint64_t count = 0;
        status >> count;
        (key.starts_with("non") ? usage.involuntary : usage.voluntary) += count;
      }
    }
  }
  return usage;
}

double Measurement::machine_busy_us() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  double user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0, steal = 0;
  stat >> cpu >> user >> nice >> system >> idle >> wait >> irq >> softirq >> steal;
  const double tick_us = 1e6 / static_cast<double>(sysconf(_SC_CLK_TCK));
  return (user + nice + system + irq + softirq + steal) * tick_us;
}

void Measurement::print(std::ostream& out) const {
  const double seconds = std::chrono::duration<double>(ended_ - begun_).count();
  const auto calls = static_cast<double>(latencies_ns_.size());
  std::vector<uint32_t> latencies = latencies_ns_;
  double ours_us = 0;
  for (const Usage& usage : usage_) ours_us += usage.cpu_us;

  out << "{\"calls\":" << latencies.size() << ",\"rate\":" << calls / seconds
      << ",\"megabytes_per_second\":" << static_cast<double>(bytes_) / 1e6 / seconds
      << ",\"p50_us\":" << percentile_of(latencies, 50) / 1e3 << ",\"p99_us\":"
      << percentile_of(latencies, 99) / 1e3
      // Processors that others kept busy.
      << ",\"foreign\":" << (busy_us_ - ours_us) / 1e6 / seconds << ",\"processes\":[";
  for (size_t i = 0; i < usage_.size(); ++i) {
    out << (i == 0 ? "" : ",") << "{\"cpu_us\":" << usage_[i].cpu_us / calls
        << ",\"voluntary\":" << static_cast<double>(usage_[i].voluntary) / calls
        << ",\"involuntary\":" << static_cast<double>(usage_[i].involuntary) / calls << '}';
  }
  out << "]}" << std::endl;
}

}  // namespace legated::bench
