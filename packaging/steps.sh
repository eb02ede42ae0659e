# shellcheck shell=bash disable=SC2034
# How the project's scripts speak: short steps with their times, colours on a terminal only.
#
#   step LABEL CMD…    runs CMD with its output in a log; prints one line with the time it took.
#                      When it fails: the last lines of the log (STEP_LINES, 20), STEP_ADVICE where
#                      set, and exit 1
#   note TEXT…         an indented line
#   fail TEXT [ADVICE] says what went wrong and what to do about it; exit 1
#   title TEXT         a heading
#
# CMD runs in a subshell of its own: what it must hand back goes through a file.

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  steps_tty=1
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' blue=$'\e[36m' plain=$'\e[0m'
else
  steps_tty=
  bold='' dim='' red='' green='' blue='' plain=''
fi
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in
  *[Uu][Tt][Ff]*8*) steps_ok='✓' steps_bad='✗' steps_frames=(⠋ ⠙ ⠹ ⠸ ⠼ ⠴ ⠦ ⠧ ⠇ ⠏) ;;
  *) steps_ok='ok' steps_bad='!!' steps_frames=('|' '/' '-' "\\") ;;
esac

steps_dir=$(mktemp -d)
steps_child=
steps_started=${EPOCHREALTIME/[.,]/}

# A script that needs its own clean-up defines `at_exit`.
steps_end() {
  if [ -n "$steps_child" ]; then kill -- "-$steps_child" 2>/dev/null || true; fi
  if [ -n "$steps_tty" ]; then printf '\e[?25h'; fi
  if declare -F at_exit >/dev/null; then at_exit; fi
  rm -rf "$steps_dir"
}
trap steps_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Prints the seconds since $1 (microseconds since the epoch) with one digit.
seconds_since() {
  local tenths=$(((${EPOCHREALTIME/[.,]/} - $1) / 100000))
  printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '    %s%s%s\n' "$dim" "$*" "$plain"; }

fail() {
  printf '%s%s %s%s\n' "$red" "$steps_bad" "$1" "$plain" >&2
  if [ -n "${2:-}" ]; then printf '    %s\n' "$2" >&2; fi
  exit 1
}

step() {
  # Prefixed, for CMD may be a function of the caller and would see these names.
  local steps_label=$1 steps_log=$steps_dir/log steps_began=${EPOCHREALTIME/[.,]/} steps_rc=0 steps_frame=0 steps_last
  shift
  : >"$steps_log"
  # Its own process group, so that Ctrl-C here ends everything that the step started.
  set -m
  ( set -euo pipefail; "$@" ) >"$steps_log" 2>&1 </dev/null &
  steps_child=$!
  set +m
  if [ -n "$steps_tty" ]; then
    printf '\e[?25l'
    while kill -0 "$steps_child" 2>/dev/null; do
      steps_last=$(tail -n 1 "$steps_log" | tr -d '\r\033' | cut -c1-50)
      printf '\r\e[K  %s %s %s%s  %s%s' "${steps_frames[steps_frame]}" "$steps_label" "$dim" "$(seconds_since "$steps_began")" "$steps_last" "$plain"
      steps_frame=$(((steps_frame + 1) % ${#steps_frames[@]}))
      sleep 0.1
    done
    printf '\r\e[K\e[?25h'
  fi
  wait "$steps_child" || steps_rc=$?
  steps_child=
  if [ "$steps_rc" = 0 ]; then
    printf '  %s%s%s %s %s%s%s\n' "$green" "$steps_ok" "$plain" "$steps_label" "$dim" "$(seconds_since "$steps_began")" "$plain"
    return
  fi
  printf '  %s%s %s%s %s%s%s\n' "$red" "$steps_bad" "$steps_label" "$plain" "$dim" "$(seconds_since "$steps_began")" "$plain" >&2
  tail -n "${STEP_LINES:-20}" "$steps_log" | sed 's/^/    /' >&2
  if [ -n "${STEP_ADVICE:-}" ]; then printf '\n    %s\n' "$STEP_ADVICE" >&2; fi
  exit 1
}
