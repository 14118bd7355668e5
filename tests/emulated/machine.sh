# Becomes the first process of a machine that shares the kernel and the files of this one, and keeps what it writes on a
# disk of its own: systemd, in the namespaces that tests/emulated/machine.py made. Not to be run by itself.
#
#   machine.sh DISK ROOT FOLDER ...   a folder for all that is written, one to mount the machine's files on, and
#                                     those that every user in there may enter
#
# What no namespace holds is out of reach: /proc/sys and /sys are read-only, devices are the harmless ones, and the
# capabilities that set the clock, load modules or reach hardware are dropped.
set -eu
disk=$1 root=$2
shift 2
mkdir -p "$disk"/{upper,work,opt,units}
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$root"
cd "$root"
for folder; do chmod a+rx ".$folder"; done
mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
umount sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0" "fuse 10 229"; do
    read -r name major minor <<<"$node"
    mknod -m 666 "dev/$name" c "$major" "$minor"
done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
# Units: those of Debian's packages, without what this machine has installed, and without what wants hardware or the
# clock, or empties folders.
mount --bind "$disk/units" etc/systemd/system
mkdir -p opt/edge-streamer var/log/journal
mount --bind "$disk/opt" opt/edge-streamer
: >etc/fstab
for unit in proc-sys-fs-binfmt_misc.automount systemd-binfmt.service dev-hugepages.mount dev-mqueue.mount \
    sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    kmod-static-nodes.service systemd-modules-load.service systemd-random-seed.service systemd-sysctl.service \
    systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer \
    systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-firstboot.service systemd-journald-audit.socket getty.target; do
    ln -sfn /dev/null "etc/systemd/system/$unit"
done
mkdir -p run/old
pivot_root . run/old
umount -l /run/old
cd /
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog,-mac_admin,-mac_override,-wake_alarm,-bpf,-perfmon \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb container=test \
    /lib/systemd/systemd --system --unit=multi-user.target --show-status=0 >/dev/null 2>&1 </dev/null
