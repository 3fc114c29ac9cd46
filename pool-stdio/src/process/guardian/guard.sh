# Ends the children of a host that has gone. Started as: sh -c SCRIPT sh HOST STEPS
# Reads one line for each change: `s ID` a start begins, `r|g|t ID PID` a child runs (its scope: root,
# group or tree), `G|T ID PID` its root was reaped, `- ID` it has ended, `c ID PATH` it has a control group,
# `u ID` that was removed, `w STEPS` a grace in tenths of a second, `q` leave quietly. Of other programs it
# needs `sleep`; a `grep` makes it faster, and control groups are removed by `rmdir`.
trap '' HUP INT QUIT TERM TSTP TTIN TTOU USR1 USR2
command -v sleep >/dev/null || exit 3
cd /
host=$1 steps=$2 trees=
while read -r what id pid; do
  case $what in
    s) eval "c$id=s:" ;;
    r | g) eval "c$id=$what:$pid" ;;
    t) eval "c$id=g:$pid" trees=1 ;;
    G) eval "c$id=G:$pid" ;;
    T) eval "c$id=G:$pid" trees=1 ;;
    -) unset "c$id" ;;
    c) eval "g$id=\$pid" ;;
    u) unset "g$id" ;;
    w) steps=$id ;;
    q) exit 0 ;;
  esac
done

# The end of input: the host has gone. `rootless` groups have numbers that can be others' by now.
roots=" " groups=" " rootless=" " starting=" " patterns=
entries=$(set | while IFS= read -r line; do
  case $line in c[0-9]*=*) ;; *) continue ;; esac
  value=${line#*=} value=${value#\'} line=${line%%=*}
  echo "${line#c}:${value%\'}"
done)
for entry in $entries; do
  id=${entry%%:*} number=${entry##*:}
  case $entry in
    *:s:) starting="$starting$id " patterns="$patterns -e $host-$id[rgt]" ;;
    *:r:*) roots="$roots$number " ;;
    *:g:*) groups="$groups$number " ;;
    *:G:*) rootless="$rootless$id:$number " patterns="$patterns -e $host-$id[gt]" ;;
  esac
done
[ -z "$trees" ] || patterns="$patterns -e $host-[0-9]*t"
# The children that have control groups.
cgroups=" $(set | while IFS= read -r line; do
  case $line in g[0-9]*=*) line=${line%%=*} && echo "${line#g}" ;; esac
done)"
# Without a /proc, or with that of other processes, only roots and groups can be found, by their numbers.
{ read -r self more </proc/self/stat; } 2>/dev/null && [ "$self" = "$$" ] || patterns=
fast=$(command -v grep)

# Forgets the roots and groups that have gone: their numbers are free for others. Zombies have not.
forget_gone() {
  kept=" "
  for group in $groups; do kill -s 0 -- "-$group" && kept="$kept$group "; done
  groups=$kept kept=" "
  for root in $roots; do kill -s 0 "$root" && kept="$kept$root "; done
  roots=$kept kept=" "
  for id in $cgroups; do
    eval "path=\$g$id"
    has_removed "$path" || kept="$kept$id "
  done
  cgroups=$kept
} 2>/dev/null
# Removes a control group and those in it. Where a process lives in one of them, all stay.
has_removed() {
  [ -d "$1" ] || return 0
  while read -r key value; do
    [ "$key $value" != "populated 1" ] || return 1
  done <"$1/cgroup.events"
  # Names that begin with a dot need patterns of their own.
  for below in "$1"/*/ "$1"/.[!.]*/ "$1"/..?*/; do
    [ ! -d "$below" ] || has_removed "${below%/}"
  done
  # Where there is no rmdir, the empty group stays and is forgotten.
  rmdir "$1" || ! command -v rmdir
} >/dev/null 2>&1
# Lists the processes in a control group and in those in it, but for those of other pid namespaces: their
# number is 0 here.
members() {
  while read -r pid; do [ "$pid" = 0 ] || echo "$pid"; done <"$1/cgroup.procs"
  for below in "$1"/*/ "$1"/.[!.]*/ "$1"/..?*/; do
    [ ! -d "$below" ] || members "${below%/}"
  done
} 2>/dev/null
# Reads the fields of a process after its name. That is in the last line: a name can have line breaks.
read_stat() {
  fields=
  while IFS= read -r line; do fields=${line##*) }; done <"/proc/$1/stat"
  [ -n "$fields" ]
} 2>/dev/null
# Lists the processes in the control groups of all children.
all_members() {
  for id in $cgroups; do
    eval "path=\$g$id"
    members "$path"
  done
}
# Whether a process is in a group that is known by its number. Without a /proc that cannot be told.
is_in_known_group() {
  read_stat "$1" || return 1
  set -- $fields
  case $groups in *" $3 "*) return 0 ;; *) return 1 ;; esac
}
# Whether a process is in the group of a child whose root was reaped. It is, or was a moment ago, marked;
# so the group is the child's, and the `target` is all of it. A member that goes on in another process
# again and again is reached by no signal of its own.
is_member() {
  read_stat "$1" || return 1
  set -- $fields
  case $rootless in *":$3 "*) target=-$3 ;; *) return 1 ;; esac
}
# Whether the process `pid` with the mark of this child is to be ended: its letter says the child's scope.
is_wanted() {
  case $2 in [rgt]) ;; *) return 1 ;; esac
  case $rootless in *" $1:"*) ! is_member "$pid" || return 0 ;; esac
  case $starting in *" $1 "*) return 0 ;; esac
  [ "$2" = t ] && [ -n "$trees" ]
}
# Whether the environment of this process has a mark of the host for which it is to be ended. The marks
# are `HOST-CHILDs`.
is_marked() {
  while IFS= read -r rest || [ -n "$rest" ]; do
    while :; do
      case $rest in *"$host-"[0-9]*) rest=${rest#*"$host-"} ;; *) break ;; esac
      id=${rest%%[!0-9]*} rest=${rest#"${rest%%[!0-9]*}"}
      ! is_wanted "$id" "${rest%"${rest#?}"}" || return 0
    done
  done <"/proc/$1/environ"
  return 1
} 2>/dev/null
# Lists the processes that carry the host's mark for trees, for a start of which nothing more is known, or
# for a group without its root. Each is followed by a colon and whom to signal: itself or, as a negative
# number, that group. To read an environment can take for ever.
marked() {
  if [ -n "$fast" ]; then
    set -- $(grep -ls $patterns /proc/[0-9]*/environ)
  else
    set -- /proc/[0-9]*/environ
  fi
  for file in "$@"; do
    pid=${file#/proc/} pid=${pid%/environ}
    target=$pid
    # Only a group needs a second look. Order: a dead process has a group, but no environment.
    if [ -n "$fast" ] && { [ "$rootless" = " " ] || is_member "$pid"; } || is_marked "$pid"; then
      echo "$pid:$target"
    fi
  done
}
# Sends the signals to all that this half of the search finds. Programs may count a SIGTERM: it goes to no
# process that is known to get it in another way. SIGKILL goes every way there is.
signal() {
  if [ "$half" = marks ]; then
    told=" " inside=" "
    for pid in $(all_members); do inside="$inside$pid "; done
    for found in $(marked); do
      pid=${found%:*} target=${found#*:}
      if [ "$1" != KILL ]; then
        # The other half signals these.
        case $inside in *" $pid "*) continue ;; esac
        ! is_in_known_group "$pid" || continue
      fi
      case $told in *" $target "*) continue ;; esac
      told="$told$target "
      for name in "$@"; do kill -s "$name" -- "$target"; done
    done
    return
  fi
  for name in "$@"; do
    for group in $groups; do kill -s "$name" -- "-$group"; done
    for root in $roots; do kill -s "$name" "$root"; done
    for id in $cgroups; do
      eval "path=\$g$id"
      # Where the system cannot kill all at once, they are killed one by one.
      [ "$name" != KILL ] || ! [ -e "$path/cgroup.kill" ] || echo 1 >"$path/cgroup.kill"
    done
    for pid in $(all_members); do
      [ "$name" = KILL ] || ! is_in_known_group "$pid" || continue
      kill -s "$name" "$pid"
    done
  done
} 2>/dev/null
# Fractions of a second, where there are any.
fractions=1
sleep 0.01 2>/dev/null || fractions=
pause() {
  if [ -n "$fractions" ]; then sleep 0.02; else sleep 1; fi
}
# Leaves when all have gone, but for those that can still come. One look for marks can miss a process
# that was started meanwhile, by one that has left since, or that is about to execute another program and
# has no environment for a moment; so there are five, and more while a group without its root is there:
# those in it may be dead, or others.
empty_looks=0
leave_if_done() {
  if [ "$half" = numbers ]; then
    forget_gone
    [ "$roots$groups$cgroups" = "   " ] || return
  elif [ -n "$1$(marked)" ]; then
    empty_looks=0
    return
  else
    empty_looks=$((empty_looks + 1)) enough=5
    for entry in $rootless; do
      if kill -s 0 -- "-${entry#*:}" 2>/dev/null; then enough=10; fi
    done
    [ "$empty_looks" -ge "$enough" ] || return
  fi
  kill -s KILL $term_timer $kill_timer 2>/dev/null
  exit 0
}
# Starts a timer for so many tenths of a second. It is no subshell, so that its number ends it.
start_timer() {
  if [ -n "$fractions" ]; then
    sleep "$(($1 / 10)).$(($1 % 10))" &
  else
    sleep "$((($1 + 9) / 10))" &
  fi
}
# Waits until the timer has run out.
wait_for() {
  round=0
  while kill -s 0 "$1" 2>/dev/null; do
    [ $((round % 5)) -ne 0 ] || leave_if_done "$2"
    round=$((round + 1))
    pause
  done
}
# One half of the search. The half `numbers` knows roots and groups by their numbers, and control groups by
# their paths. It reads no environment, so no process can make it wait. The half `marks` reads environments.
end_all() {
  half=$1 coming=
  if [ "$half" = marks ]; then
    # A child whose start had begun can still be on its way.
    coming=${starting# }
  fi
  start_timer $((steps * 2 / 3))
  term_timer=$!
  start_timer "$steps"
  kill_timer=$!
  wait_for "$term_timer" "$coming"
  # Its number is free for others.
  term_timer=
  signal TERM CONT
  wait_for "$kill_timer" "$coming"
  kill_timer=
  round=0
  while [ "$round" -lt 100 ]; do
    signal KILL
    leave_if_done ""
    pause
    round=$((round + 1))
    # The first SIGKILL reaches all members of roots and groups. Those that are there after that are dead, and
    # wait for their parents. A control group shows no dead, so one with members is worth more rounds.
    [ "$round" -lt 10 ] || [ "$half$cgroups" != "numbers " ] || return 0
  done
}

marks_half=
if [ -n "$patterns" ]; then
  end_all marks &
  marks_half=$!
fi
(end_all numbers)
[ -n "$marks_half" ] || exit 0
# Without a grep a look takes a second or more.
extra=600
[ -z "$fast" ] || extra=150
start_timer $((steps + extra))
limit=$!
while kill -s 0 "$marks_half" 2>/dev/null; do
  # It hangs on a process that nobody can look into. All that is ours goes.
  kill -s 0 "$limit" 2>/dev/null || kill -s KILL 0
  pause
done
kill -s KILL "$limit" 2>/dev/null
exit 0
