# Puts one of the node's own disks at $WEIGHTS_DIR, for the weights: not the operating system's, which is small and busy.
#
# Runs on the node itself (its mount namespace and programs) as root, before the copy, which then runs as $OWNER. In this order:
#   what is mounted there already
#   the NVMe disk that this script made in an earlier life of the node, by its label
#   a raw NVMe disk, as AKS leaves them: gets a file system
#   the temporary disk that Azure mounts at /mnt
#
# ROOT puts another directory in front of every path (tests).
set -eu
: "${WEIGHTS_DIR:?where the disk is to be}" "${OWNER:?the number of the user who writes the weights}"
ROOT=${ROOT:-}
LABEL=zig-ai-weights
TARGET="$ROOT$WEIGHTS_DIR"

say() { echo "node-disk: $*" >&2; }

# A disk of Azure's without partitions, file system and mounts.
raw_nvme() {
    for device in "$ROOT"/sys/block/nvme*; do
        case "$(cat "$device/device/model" 2>/dev/null)" in
        "Microsoft NVMe Direct Disk"*) ;;
        *) continue ;;
        esac
        name=${device##*/}
        if [ "$(lsblk --noheadings --output NAME "/dev/$name" | wc -l)" -eq 1 ] && [ -z "$(blkid -o value "/dev/$name")" ] &&
            [ -z "$(lsblk --noheadings --output MOUNTPOINT "/dev/$name" | tr -d '[:space:]')" ]; then
            echo "/dev/$name"
            return
        fi
    done
}

mkdir -p "$TARGET"
disk=$(blkid -L "$LABEL" || raw_nvme)
if mountpoint -q "$TARGET"; then
    say "a disk is at $WEIGHTS_DIR already"
elif [ -n "$disk" ]; then
    if [ -z "$(blkid -o value "$disk")" ]; then
        say "$disk: making a file system"
        mkfs.ext4 -q -m 0 -L "$LABEL" "$disk"
    fi
    mount -o noatime "$disk" "$TARGET"
    say "$disk is at $WEIGHTS_DIR"
elif mountpoint -q "$ROOT/mnt"; then
    mkdir -p "$ROOT/mnt/$LABEL"
    mount --bind "$ROOT/mnt/$LABEL" "$TARGET"
    say "the temporary disk is at $WEIGHTS_DIR"
else
    say "FAILED: this node has no raw NVMe disk and no temporary disk at /mnt: caching: {l2Cache: {enabled: false}} reads the weight storage instead"
    exit 1
fi
# Everything in it too: earlier versions of this agent copied as root.
chown -R "$OWNER:$OWNER" "$TARGET"
