# Makes one node's memory settings what the stack asks, keeps them so, and says so with a node label.
#
# Runs on the node itself (its mount namespace, its systemctl and kubectl) as root. kubectl acts as the node: the API server lets a
# kubelet label its own Node and no other (NodeRestriction), so no service account needs the right to change nodes.
#
# What it changes, and only where the node differs:
#   /proc/sys/vm/nr_hugepages, overcommit_memory, overcommit_ratio   and  /etc/sysctl.d/90-zig-ai.conf for the next boot
#   /sys/kernel/mm/transparent_hugepage/enabled                      and  /etc/tmpfiles.d/90-zig-ai.conf for the next boot
#   the kubelet, restarted only when it has counted another number of huge pages than there are
#   the label $NODE_LABEL, set only when all of it reads back as asked, removed when anything does not
#
# ROOT puts another directory in front of every path (tests). WATCH_SECONDS=0 ends after one pass.
set -eu
: "${NODE_NAME:?name of this node}" "${NODE_LABEL:?label to set, key=value}"
: "${HUGE_PAGES_2MI:?}" "${THP:?}" "${OVERCOMMIT_MEMORY:?}" "${OVERCOMMIT_RATIO:?}"
ROOT=${ROOT:-}
WATCH_SECONDS=${WATCH_SECONDS:-60}
KUBELET_SECONDS=${KUBELET_SECONDS:-180}

PATH="$PATH:/usr/local/bin:/opt/bin"
export KUBECONFIG="$ROOT/var/lib/kubelet/kubeconfig"
VM="$ROOT/proc/sys/vm"
THP_FILE="$ROOT/sys/kernel/mm/transparent_hugepage/enabled"
READY="$ROOT/run/zig-ai/node-tuned"
LABEL_KEY=${NODE_LABEL%%=*}

say() { echo "node-tuning: $*" >&2; }

die() {
    say "FAILED: $*"
    exit 1
}

withdraw() {
    status=$?
    if [ "$status" -ne 0 ]; then
        rm -f "$READY"
        kubectl label node "$NODE_NAME" "$LABEL_KEY-" >&2 || say "the label $LABEL_KEY could not be removed"
    fi
}
trap withdraw EXIT
# Being replaced by a newer pod is no failure: the node stays as it is, and so does its label.
trap 'trap - EXIT; exit 0' TERM INT

# The value in a kernel file; of a list such as "always [madvise] never", the chosen one.
current() { cat "$1" | sed -e 's/.*\[\(.*\)\].*/\1/'; }

# set_value FILE VALUE: writes only a value that differs, then reads back.
set_value() {
    if [ "$(current "$1")" = "$2" ]; then return; fi
    say "$1: $(current "$1") -> $2"
    echo "$2" >"$1" || die "$1 does not take $2"
    if [ "$(current "$1")" != "$2" ]; then die "$1 is $(current "$1") after writing $2"; fi
}

# The kernel gives what contiguous memory it finds. Freeing caches and compacting finds more; five tries, then it is a fact.
set_huge_pages() {
    file="$VM/nr_hugepages"
    for attempt in 1 2 3 4 5; do
        if [ "$(current "$file")" = "$HUGE_PAGES_2MI" ]; then return; fi
        if [ "$attempt" -gt 1 ]; then
            sync
            echo 3 >"$VM/drop_caches"
            echo 1 >"$VM/compact_memory"
            sleep 1
        fi
        say "$file: $(current "$file") -> $HUGE_PAGES_2MI (try $attempt)"
        echo "$HUGE_PAGES_2MI" >"$file" || die "$file does not take $HUGE_PAGES_2MI"
    done
    if [ "$(current "$file")" = "$HUGE_PAGES_2MI" ]; then return; fi
    die "asked for $HUGE_PAGES_2MI huge pages of 2 MiB, the kernel gave $(current "$file"): memory is too full or too fragmented; drain and reboot the node"
}

tune() {
    set_huge_pages
    set_value "$THP_FILE" "$THP"
    # The ratio first: it is what overcommit_memory=2 counts with. Under 0 and 1 the kernel ignores it.
    set_value "$VM/overcommit_ratio" "$OVERCOMMIT_RATIO"
    set_value "$VM/overcommit_memory" "$OVERCOMMIT_MEMORY"
}

# persist FILE TEXT: for the next boot, before the kubelet counts huge pages.
persist() {
    if [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; then return; fi
    mkdir -p "${1%/*}"
    printf '%s\n' "$2" >"$1.new"
    mv "$1.new" "$1"
    say "wrote $1"
}

persist_all() {
    persist "$ROOT/etc/sysctl.d/90-zig-ai.conf" "vm.nr_hugepages = $HUGE_PAGES_2MI
vm.overcommit_ratio = $OVERCOMMIT_RATIO
vm.overcommit_memory = $OVERCOMMIT_MEMORY"
    persist "$ROOT/etc/tmpfiles.d/90-zig-ai.conf" "w /sys/kernel/mm/transparent_hugepage/enabled - - - - $THP"
}

# MiB of 2 MiB huge pages that the kubelet has reported, from a quantity such as 2Gi, 2050Mi, 2097152Ki or 0.
kubelet_mib() {
    seen=$(kubectl get node "$NODE_NAME" -o 'jsonpath={.status.capacity.hugepages-2Mi}')
    case "$seen" in
    *Gi) echo $((${seen%Gi} * 1024)) ;;
    *Mi) echo "${seen%Mi}" ;;
    *Ki) echo $((${seen%Ki} / 1024)) ;;
    '') echo 0 ;;
    *) echo $((seen / 1048576)) ;;
    esac
}

# The kubelet counts huge pages once, when it starts. Running containers survive its restart.
sync_kubelet() {
    wanted=$((HUGE_PAGES_2MI * 2))
    if [ "$(kubelet_mib)" = "$wanted" ]; then return; fi
    say "the kubelet has counted $(kubelet_mib) MiB of huge pages, the node has $wanted: restarting it"
    systemctl restart kubelet
    waited=0
    while [ "$(kubelet_mib || echo unknown)" != "$wanted" ]; do
        if [ "$waited" -ge "$KUBELET_SECONDS" ]; then
            die "$KUBELET_SECONDS s after its restart the kubelet still does not report $wanted MiB of huge pages"
        fi
        sleep 2
        waited=$((waited + 2))
    done
}

mark_ready() {
    path=$(printf '%s' "$LABEL_KEY" | sed 's/\./\\./g')
    if [ "$(kubectl get node "$NODE_NAME" -o "jsonpath={.metadata.labels.$path}")" != "${NODE_LABEL#*=}" ]; then
        kubectl label node "$NODE_NAME" "$NODE_LABEL" --overwrite >&2
    fi
    if [ ! -e "$READY" ]; then
        mkdir -p "${READY%/*}"
        : >"$READY"
        say "tuned: $HUGE_PAGES_2MI huge pages of 2 MiB, transparent huge pages $THP, overcommit $OVERCOMMIT_MEMORY/$OVERCOMMIT_RATIO"
    fi
}

one_pass() {
    tune
    persist_all
    sync_kubelet
    # A starting kubelet sets overcommit_memory to 1 of its own accord.
    tune
    mark_ready
}

rm -f "$READY"
one_pass
while [ "$WATCH_SECONDS" -gt 0 ]; do
    sleep "$WATCH_SECONDS" &
    wait $!
    one_pass
done
