#!/usr/bin/env bash
# Makes a real arm64 Debian userland (Python 3.11, sshd) that runs on an x86-64 Linux machine through qemu-user.
# usage (as root): make-arm64-root.sh FOLDER [PYTHON]     ten seconds, 185 MB; again it only mounts /proc
# Its packages are unpacked here, not configured there, which takes four minutes under qemu. What their scripts would
# have done and a board for Python needs stands below; PYTHON, of the same minor version, compiles the standard library.
set -euo pipefail
root=${1:?folder for the arm64 root} python=${2:-python3}
for tool in qemu-aarch64-static mmdebstrap aarch64-linux-gnu-g++; do
  command -v "$tool" >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq qemu-user-static mmdebstrap g++-aarch64-linux-gnu >/dev/null
  }
done
[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
if ! [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
  magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  echo ":qemu-aarch64:M::$magic:$mask:/usr/bin/qemu-aarch64-static:F" >/proc/sys/fs/binfmt_misc/register
fi
# The stamp comes last, so that an interrupted installation starts over.
if ! [ -e "$root/made" ]; then
  mountpoint -q "$root/proc" && umount "$root/proc"
  rm -rf "$root"
  mkdir -p "$(dirname "$root")"
  mmdebstrap --quiet --architectures=arm64 --variant=extract --include='?essential' \
    --include=libstdc++6,openssh-server,passwd,python3,python3-venv --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    bookworm "$root" >&2
  cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
  chroot "$root" /usr/sbin/useradd --system --home-dir /run/sshd --shell /usr/sbin/nologin sshd
  "$python" -m compileall -q -j 0 -s "$root" -p / "$root"/usr/lib/python3.* >&2
  touch "$root/made"
fi
mountpoint -q "$root/proc" || mount --bind /proc "$root/proc" # onnxruntime's external data needs it
# /sys is never mounted: the x86 topology in it crashes onnxruntime's CPU probe under qemu
chroot "$root" uname -m
