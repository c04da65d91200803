# Outlives the test process by a moment: stdin is a pipe whose other end only that process holds, so end of
# file means that it is gone, however it ended. Then every process it left is ended and its directory removed.
# Lines on stdin: "dir PATH" | "add PID SIGNAL" | "gone PID". SIGNAL is the polite way to end it, or KILL.
trap '' INT HUP TERM QUIT
dir=
procs=
while read -r verb rest; do
    case $verb in
    dir) dir=$rest ;;
    add) procs="$procs ${rest%% *}:${rest#* }" ;;
    gone)
        kept=
        for p in $procs; do [ "${p%%:*}" = "$rest" ] || kept="$kept $p"; done
        procs=$kept
        ;;
    esac
done

children() {
    if [ -d /proc/self ]; then
        for file in $(grep -ls "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status); do
            file=${file#/proc/}
            echo "${file%/status}"
        done
    else
        ps -A -o pid=,ppid= | while read -r pid ppid; do [ "$ppid" = "$1" ] && echo "$pid"; done
    fi
}
tree() {
    echo "$1"
    for child in $(children "$1"); do (tree "$child"); done
}

all=
polite=
for p in $procs; do
    pid=${p%%:*}
    signal=${p#*:}
    # A stopped process forks no more while its tree is read.
    kill -s STOP "$pid" 2>/dev/null || continue
    members=$(tree "$pid" | tr '\n' ' ')
    all="$all $members"
    if [ "$signal" != KILL ]; then
        kill -s "$signal" "$pid" 2>/dev/null
        for member in $members; do kill -s CONT "$member" 2>/dev/null; done
        polite="$polite $pid"
    fi
done
tries=0
for pid in $polite; do
    while [ $tries -lt 60 ] && kill -0 "$pid" 2>/dev/null; do
        sleep 0.05
        tries=$((tries + 1))
    done
done
for pid in $all; do kill -s KILL "$pid" 2>/dev/null; done
[ -n "$dir" ] && rm -rf "$dir"
exit 0
