# Ends the children of a host that has gone. Started as: sh -c SCRIPT sh HOST STEPS
# Reads one line for each change: `s ID` a start begins, `r|g|t ID PID` a child runs (its scope: root,
# group or tree), `- ID` it has ended, `w STEPS` a grace in tenths of a second, `q` leave quietly.
trap '' HUP INT QUIT TERM TSTP TTIN TTOU USR1 USR2
cd /
host=$1 steps=$2 trees=
while read -r what id pid; do
  case $what in
    s) eval "c$id=s:" ;;
    r | g) eval "c$id=$what:$pid" ;;
    t) eval "c$id=g:$pid" trees=1 ;;
    -) unset "c$id" ;;
    w) steps=$id ;;
    q) exit 0 ;;
  esac
done

# The end of input: the host has gone.
roots=" " groups=" " starting= patterns=
for entry in $(set | sed -n "s/^c\([0-9][0-9]*\)='*\([^']*\)'*\$/\1:\2/p"); do
  case $entry in
    *:s:) starting=1 patterns="$patterns -e $host-${entry%%:*}[rgt]" ;;
    *:r:*) roots="$roots${entry##*:} " ;;
    *:g:*) groups="$groups${entry##*:} " ;;
  esac
done
[ -z "$trees" ] || patterns="$patterns -e $host-[0-9]*t"

# Forgets the roots and groups that have gone: their numbers are free for others. Zombies have not.
forget_gone() {
  kept=" "
  for group in $groups; do kill -s 0 -- "-$group" && kept="$kept$group "; done
  groups=$kept kept=" "
  for root in $roots; do kill -s 0 "$root" && kept="$kept$root "; done
  roots=$kept
} 2>/dev/null
# The processes of the roots and groups, without zombies.
members() {
  [ "$roots$groups" != "  " ] || return
  for file in /proc/[0-9]*/stat; do
    { read -r line <"$file"; } 2>/dev/null || continue
    pid=${file#/proc/} pid=${pid%/stat}
    set -- ${line##*) }
    case $1 in [ZXx]) [ "${18}" -gt 1 ] || continue ;; esac
    case $groups in *" $3 "*) echo "$pid" ;; *) case $roots in *" $pid "*) echo "$pid" ;; esac ;; esac
  done
}
# The processes that carry the host's mark for trees, or for a start of which nothing more is known.
marked() {
  [ -z "$patterns" ] || for file in $(grep -ls $patterns /proc/[0-9]*/environ); do
    file=${file#/proc/}
    echo "${file%/environ}"
  done
}
# Sends the signals to all of them.
signal() {
  for name in "$@"; do
    for group in $groups; do kill -s "$name" -- "-$group"; done
    for root in $roots; do kill -s "$name" "$root"; done
  done
  for pid in $(marked); do
    for name in "$@"; do kill -s "$name" "$pid"; done
  done
} 2>/dev/null
# Fractions of a second, where there are any.
pause() {
  sleep "$1" 2>/dev/null || sleep 1
}
# Leaves when all have gone. A child whose start had begun can still be on its way.
leave_if_done() {
  forget_gone
  [ -n "$1$(members)$(marked)" ] || {
    kill -s KILL "$term_timer" "$kill_timer" 2>/dev/null
    exit 0
  }
}
# Starts a timer for so many tenths of a second.
start_timer() {
  pause "$(($1 / 10)).$(($1 % 10))" &
}
# Waits until the timer has run out.
wait_for() {
  round=0
  while kill -s 0 "$1" 2>/dev/null; do
    [ $((round % 5)) -ne 0 ] || leave_if_done "$starting"
    round=$((round + 1))
    pause 0.02
  done
}

start_timer $((steps * 2 / 3))
term_timer=$!
start_timer "$steps"
kill_timer=$!
wait_for "$term_timer"
signal TERM CONT
wait_for "$kill_timer"
round=0
while [ "$round" -lt 100 ]; do
  signal KILL
  leave_if_done ""
  pause 0.02
  round=$((round + 1))
done
