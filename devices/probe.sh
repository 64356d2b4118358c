# What a machine is, in sections that devices/facts.py reads. It comes over standard input and leaves nothing behind.
# POSIX sh with what BusyBox has; every question may go unanswered.
LC_ALL=C; export LC_ALL
exec 2>/dev/null
section() { printf '\n@@ %s\n' "$1"; }

section kernel; uname -m; uname -n; uname -s; uname -r
section bits; getconf LONG_BIT
section os; cat /etc/os-release
section model; tr '\0' '\n' </proc/device-tree/model || cat /sys/class/dmi/id/product_name
section compatible; tr '\0' '\n' </proc/device-tree/compatible
section cpuinfo; cat /proc/cpuinfo
section meminfo; cat /proc/meminfo
section topology
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  siblings=$(cat "$cpu/topology/thread_siblings_list") || continue
  khz=$(cat "$cpu/cpufreq/cpuinfo_max_freq") || khz=0
  echo "${cpu##*/cpu} $khz $siblings"
done
section governor; cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor
section temperature
for zone in /sys/class/thermal/thermal_zone*/temp /sys/class/hwmon/hwmon*/temp*_input; do
  if [ -r "$zone" ]; then cat "$zone"; fi
done
section throttle_count; cat /sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count
section throttled; vcgencmd get_throttled
section glibc; getconf GNU_LIBC_VERSION
section ldd; ldd --version 2>&1
section python
for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
  if command -v "$name" >/dev/null; then
    "$name" -c 'import sys
print("%d.%d.%d" % sys.version_info[:3], int(sys.maxsize > 2**32), end=" ")
try:
    import venv
    print("venv", end=" ")
except ImportError:
    print("-", end=" ")
print(sys.executable)' </dev/null
  fi
done
section gpu; nvidia-smi --query-gpu=name,memory.total,compute_cap --format=csv,noheader,nounits </dev/null
section disk; df -Pk "$HOME"
section tools
for name in cat dirname mkdir mv rm rmdir sha256sum tail wc xargs; do command -v "$name" >/dev/null || echo "$name"; done
section end
