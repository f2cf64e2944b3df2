#!/usr/bin/env bash
# Proves the image and docker-compose.yml against a real engine: two workers, one of them killed with work in its
# hands, a broker killed and recreated on its volume, and every result compared with what it should be.
#
#   docker/test.sh [--from-source | --prebuilt DIR] [--network auto|bridge|host] [--compose 1|2]
#
#   --from-source   build the image as the Dockerfile says (default)
#   --prebuilt DIR  put DIR/joinqd, DIR/joinq-worker and DIR/joinq (built on Debian 12) in the image instead of
#                   compiling them there; the rest of the Dockerfile is used as it is
#   --network       bridge: docker-compose.yml as it stands; host: with docker-compose.host-network.yml;
#                   auto (default): bridge if the kernel has it
#   --compose       1: docker-compose 1.29 (default); 2: the plugin `docker compose`. Both are asked to check the files
#
# Uses the engine that answers, else starts one of its own in a temporary folder and stops it in the end. Where no
# registry is reachable the base image is made by debootstrap and kept in ${XDG_CACHE_HOME:-~/.cache}/joinq-test.
# Installs Debian packages that are missing. Without root it asks sudo. Exit status: 0 all checks passed, 1 not.
set -euo pipefail
exec </dev/null

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
readonly base=debian:bookworm-slim
readonly cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/joinq-test
readonly project=joinqtest$$
readonly image=joinq-test:$$
readonly cgroup=joinq-test-$$
readonly mirror=${JOINQ_DEBIAN_MIRROR:-http://deb.debian.org/debian}

source_mode=from-source
prebuilt=
network=auto
compose_version=1
work=
engine_pid=
engine_log=
base_is_ours=
key_is_ours=
project_is_up=
checks=0
said=
docker=docker
compose_tool=()

compose_command=()
broker=

# ---- saying ------------------------------------------------------------------------------------------------------

# Announces a step, with the seconds since the start.
step() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }

# Counts and reports a check that passed.
pass() {
  checks=$((checks + 1))
  printf '       ok: %s\n' "$*"
}

# Ends the test as failed.
fail() {
  said=yes
  printf 'docker test: FAILED: %s\n' "$*" >&2
  exit 1
}

# Checks that a value is the expected one: what, expected, actual.
expect() {
  [[ $3 == "$2" ]] || fail "$1: expected '$2', got '$3'"
  pass "$1"
}

# Repeats a command until it succeeds: seconds, what for, command.
wait_until() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < end)) || fail "gave up waiting: $what"
    sleep 0.2
  done
}

# ---- the machine -------------------------------------------------------------------------------------------------

# Runs a command as root.
as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Installs the Debian package of each command that is missing: command=package ...
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || [[ -x /usr/sbin/${pair%%=*} ]] || missing+=("${pair#*=}")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || fail "please install: ${missing[*]}"
  step "installing ${missing[*]}"
  as_root apt-get update -qq || true
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fail "apt-get install ${missing[*]}"; }
}

# Finds a docker client that the engine understands, if an engine answers.
engine_answers() {
  local client
  for client in docker /usr/bin/docker; do
    if command -v "$client" >/dev/null && timeout 10 "$client" version >/dev/null 2>&1; then
      docker=$client
      return 0
    fi
  done
  return 1
}

# Says whether containers can have a network of their own here: bridges, virtual cables, address translation.
kernel_bridges() {
  # shellcheck disable=SC2016
  unshare --net sh -c '
    ip link set lo up && ip link add jq0 type bridge && ip link add jq1 type veth peer name jq2 &&
    iptables -t nat -A POSTROUTING -s 10.255.255.0/24 -j MASQUERADE &&
    iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT' >/dev/null 2>&1
}

# Starts an engine of our own: "host" shares the machine's network and touches nothing of it; "bridge" lives in a new
# network namespace, with bridges and packet filter rules that vanish with it. Fails if it does not come up.
start_engine() {
  local options=(--config-file "$work/daemon.json" --data-root "$work/data" --exec-root "$work/exec"
    --pidfile "$work/docker.pid" --host "unix://$work/docker.sock" --storage-driver overlay2
    --cgroup-parent "$cgroup" --log-level warn)
  echo '{}' >"$work/daemon.json"
  engine_log=$work/engine-$1.log
  if [[ $1 == bridge ]]; then
    # shellcheck disable=SC2016
    setsid unshare --net sh -c 'ip link set lo up && exec dockerd "$@"' dockerd "${options[@]}" >"$engine_log" 2>&1 &
  else
    setsid dockerd "${options[@]}" --bridge=none --iptables=false --ip6tables=false --ip-forward=false \
      --ip-masq=false >"$engine_log" 2>&1 &
  fi
  engine_pid=$!
  export DOCKER_HOST=unix://$work/docker.sock
  local end=$((SECONDS + 60))
  until engine_answers; do
    if ! kill -0 "$engine_pid" 2>/dev/null || ((SECONDS >= end)); then
      stop_engine
      return 1
    fi
    sleep 0.2
  done
  engine_answers # once more: the first client that was asked may have been too early
}

# Stops our engine and whatever it left running or mounted.
stop_engine() {
  [[ -n $engine_pid ]] || return 0
  local pid path i
  kill "$engine_pid" 2>/dev/null || true
  for ((i = 0; i < 150; i++)); do
    kill -0 "$engine_pid" 2>/dev/null || break
    sleep 0.2
  done
  # The folder's name is in the command line of each of its processes, and in nobody else's.
  for pid in $(pgrep -f -- "$work/" || true); do
    [[ $pid == "$$" ]] || kill -KILL "$pid" 2>/dev/null || true
  done
  for path in /sys/fs/cgroup/*/"$cgroup"/*/cgroup.procs /sys/fs/cgroup/"$cgroup"/*/cgroup.procs; do
    [[ -e $path ]] || continue
    while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done <"$path"
  done
  wait "$engine_pid" 2>/dev/null || true
  engine_pid=
  while read -r path; do
    umount -l "$path" 2>/dev/null || true
  done < <(awk -v p="$work/" 'index($5, p) == 1 {print $5}' /proc/self/mountinfo | sort -r)
  find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
}

# Undoes everything; on failure, shows the logs first.
cleanup() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  if ((status)) && [[ -z $said ]]; then echo "docker test: FAILED: ended with status $status" >&2; fi
  if ((status)) && [[ -n $work ]]; then
    if [[ -n $project_is_up ]]; then
      echo "---- containers" >&2
      "$docker" ps -a --filter "label=com.docker.compose.project=$project" >&2
      echo "---- their logs" >&2
      compose logs --no-color --tail 100 >&2
    fi
    if [[ -n $engine_log ]]; then
      echo "---- engine" >&2
      tail -n 20 "$engine_log" >&2
    fi
  fi
  [[ -z $project_is_up ]] || timeout 120 "${compose_command[@]}" down -v --remove-orphans -t 5 >/dev/null 2>&1
  if [[ -z $engine_pid && -n $work ]]; then
    "$docker" image rm -f "$image" >/dev/null 2>&1
    [[ -z $base_is_ours ]] || "$docker" image rm "$base" >/dev/null 2>&1
  fi
  stop_engine
  [[ -z $key_is_ours ]] || rm -f /etc/docker/key.json
  [[ -z $work ]] || as_root rm -rf --one-file-system "$work"
  exit "$status"
}

# Prints a TCP port that is free on loopback; the argument keeps two calls apart.
free_port() {
  local port
  for ((port = 20000 + (RANDOM % 5000) * 2 + $1; ; port += 2)); do
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
}

# ---- the image ---------------------------------------------------------------------------------------------------

# Provides the base image: the engine's, a registry's, or one made by debootstrap.
provide_base() {
  "$docker" image inspect "$base" >/dev/null 2>&1 && return
  base_is_ours=yes
  if timeout 60 "$docker" pull -q "$base" >/dev/null 2>&1; then
    step "base image: pulled $base"
    return
  fi
  local tar
  tar=$cache/debian-bookworm-$(dpkg --print-architecture).tar.gz
  if [[ -z $(find "$tar" -mtime -30 2>/dev/null) ]]; then
    step "base image: no registry reachable, making $base with debootstrap"
    need debootstrap=debootstrap
    mkdir -p "$cache"
    as_root debootstrap --variant=minbase bookworm "$work/bookworm" "$mirror" >"$work/debootstrap.log" 2>&1 ||
      { tail -n 20 "$work/debootstrap.log" >&2; fail "debootstrap"; }
    as_root tar -C "$work/bookworm" --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*' \
      -c . | gzip -1 >"$tar.$$"
    mv "$tar.$$" "$tar"
    as_root rm -rf --one-file-system "$work/bookworm"
  fi
  step "base image: importing $tar as $base"
  "$docker" import "$tar" "$base" >/dev/null
}

# Builds the image, from source or around programs that are already built.
build_image() {
  local file=$root/docker/Dockerfile context=$root arguments=() name proxy=
  if [[ $source_mode == prebuilt ]]; then
    context=$work/context
    file=$work/Dockerfile
    mkdir "$context"
    for name in joinqd joinq-worker joinq; do
      [[ -x $prebuilt/$name ]] || fail "$prebuilt/$name is not there"
      install -m 0755 "$prebuilt/$name" "$context/"
      strip --strip-debug "$context/$name" 2>/dev/null || true
    done
    # The stage named "build" becomes a copy of the context; all others stay.
    awk '/^FROM .* AS build$/ {print; print "COPY . /out/usr/local/bin/"; skip = 1; next}
         /^FROM / {skip = 0}
         !skip' "$root/docker/Dockerfile" >"$file"
  fi
  for name in http_proxy https_proxy no_proxy; do
    [[ -z ${!name-} ]] || arguments+=(--build-arg "$name=${!name}")
  done
  if [[ -z ${http_proxy-} ]] && command -v apt-config >/dev/null; then
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [[ -z $proxy || $proxy == DIRECT ]] || arguments+=(--build-arg "http_proxy=$proxy")
  fi
  step "building the image ($source_mode)"
  "$docker" build --network host -f "$file" -t "$image" ${arguments[@]+"${arguments[@]}"} "$context" \
    >"$work/build.log" 2>&1 || { tail -n 60 "$work/build.log" >&2; fail "docker build"; }
  step "image built: $("$docker" image inspect -f '{{.Size}}' "$image" | awk '{printf "%d MB", $1 / 1e6}')"
}

# Checks what can be seen of the image without a broker.
check_image() {
  local out
  out=$("$docker" run --rm --network none "$image" sh -c 'ldd /usr/local/bin/joinq* | grep "not found" || true')
  expect "every shared library is in the image" "" "$out"
  # shellcheck disable=SC2016
  out=$("$docker" run --rm --network none "$image" sh -c 'echo "$(id -un) $(id -u) $(stat -c %U:%a /var/lib/joinq)"')
  expect "the image's user is joinq and owns the data folder" "joinq 7420 joinq:700" "$out"
  if "$docker" run --rm --network none --entrypoint sh "$image" -c 'command -v g++ cc cmake' >/dev/null; then
    fail "a compiler is in the image"
  fi
  pass "no compiler in the image"
}

# ---- the composition ---------------------------------------------------------------------------------------------

# Writes the handlers of this test and the override that gives them to the workers; sets compose_command.
prepare_compose() {
  local main=$root/docker/docker-compose.yml files
  mkdir -p "$work/handlers" "$work/starts"
  chmod 755 "$work" "$work/handlers"
  chmod 777 "$work/starts"
  # Notes where it ran (the container's pid namespace) and on what, takes 50 ms, or 300 ms for every fifth task.
  cat >"$work/handlers/slow" <<'HANDLER'
#!/bin/sh
payload=$(cat)
echo "$(readlink /proc/self/ns/pid) $payload" >>/starts/slow
case $payload in *0 | *5) sleep 0.3 ;; *) sleep 0.05 ;; esac
printf '%s' "$payload" | tr a-z A-Z
HANDLER
  cat >"$work/handlers/long" <<'HANDLER'
#!/bin/sh
payload=$(cat)
echo "$payload" >>/starts/long
sleep 3
printf 'finished %s' "$payload"
HANDLER
  chmod 755 "$work"/handlers/*
  cat >"$work/override.yml" <<OVERRIDE
services:
  worker:
    command: ["joinq-worker", "--exec", "upper=tr a-z A-Z", "--exec", "sha256=sha256sum",
              "--exec", "slow=/handlers/slow", "--exec", "long=/handlers/long"]
    volumes:
      - $work/handlers:/handlers:ro
      - $work/starts:/starts
OVERRIDE
  if [[ $network == host ]]; then
    # docker-compose 1.29 refuses published ports on the host's network: leave them out.
    awk '/^    ports:$/ {skip = 1; next} skip && /^      - / {next} {skip = 0; print}' "$main" >"$work/compose.yml"
    main=$work/compose.yml
    files=(-f "$main" -f "$root/docker/docker-compose.host-network.yml" -f "$work/override.yml")
  else
    files=(-f "$main" -f "$work/override.yml")
  fi
  compose_command=("${compose_tool[@]}" --project-directory "$root/docker" -p "$project" "${files[@]}")
  JOINQ_IMAGE=$image JOINQ_PORT=$(free_port 0) JOINQ_HTTP_PORT=$(free_port 1)
  export JOINQ_IMAGE JOINQ_PORT JOINQ_HTTP_PORT
  unset JOINQ_URL JOINQ_QUEUES JOINQ_CONCURRENCY JOINQ_PUBLISH
}

# Runs docker-compose on this test's project.
compose() { "${compose_command[@]}" "$@"; }

# Starts the services that do not run and sees two workers.
compose_up() {
  project_is_up=yes
  timeout 240 "${compose_command[@]}" up -d --no-build --scale worker=2 >"$work/up.log" 2>&1 ||
    { cat "$work/up.log" >&2; fail "docker-compose up"; }
}

# Checks that every compose tool here accepts the files.
check_config() {
  local tool dir=$root/docker
  for tool in docker-compose "$docker compose"; do
    # shellcheck disable=SC2086
    if ! $tool version >/dev/null 2>&1; then
      step "($tool is not installed: not checked)"
      continue
    fi
    # shellcheck disable=SC2086
    $tool -f "$dir/docker-compose.yml" config -q || fail "$tool config"
    # shellcheck disable=SC2086
    $tool -f "$dir/docker-compose.yml" -f "$dir/docker-compose.host-network.yml" config -q || fail "$tool config, host"
    pass "$tool accepts the files"
  done
}

# Runs a command where the engine publishes ports.
on_engine_network() {
  if [[ -n $engine_pid ]]; then nsenter --net --target "$engine_pid" "$@"; else "$@"; fi
}

# Prints the status of a GET from the broker's HTTP port as the host sees it: path.
http_status() {
  # shellcheck disable=SC2016
  on_engine_network timeout 10 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf "GET %s HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n" "$2" >&3
    read -r _ status _ <&3 && echo "$status"' http "$JOINQ_HTTP_PORT" "$1"
}

# Runs the command line in the broker's container.
joinq() { "$docker" exec -i "$broker" joinq "$@"; }

# Prints the containers of a service that run.
containers() {
  "$docker" ps -q --filter "label=com.docker.compose.project=$project" \
    --filter "label=com.docker.compose.service=$1"
}

# Says whether a container is healthy.
healthy() { [[ $("$docker" inspect -f '{{.State.Health.Status}}' "$1") == healthy ]]; }

# Prints how many workers the broker knows.
worker_count() {
  joinq worker list --json | python3 -c '
import json, sys
text = sys.stdin.read()
try:
    found = json.loads(text or "[]")
    if isinstance(found, dict):
        found = found.get("workers", [found])
except ValueError:
    found = text.split("\n")[:-1]
print(len(found))'
}

# Says whether the broker knows this many workers.
workers_are() { [[ $(worker_count 2>/dev/null) == "$1" ]]; }

# Says whether a file has at least this many lines: file, lines.
has_lines() { [[ -e $1 ]] && (($(wc -l <"$1") >= $2)); }

# Submits one task for each line of stdin: handler. Prints the ids.
submit_lines() {
  # shellcheck disable=SC2016
  "$docker" exec -i "$broker" sh -c 'while read -r line; do joinq submit "$0" "$line" -Q default || exit; done' "$1"
}

# Prints the result of each id on stdin, a line each.
results_of() {
  # shellcheck disable=SC2016
  "$docker" exec -i "$broker" sh -c '
    while read -r id; do result=$(joinq result "$id" --wait 60) && printf "%s\n" "$result" || exit; done'
}

# Compares two files of results: what, expected, actual.
expect_same() {
  if ! diff "$2" "$3" >"$work/diff"; then
    head -n 20 "$work/diff" >&2
    fail "$1: $(grep -c '^[<>]' "$work/diff") lines differ"
  fi
  pass "$1"
}

# ---- the checks --------------------------------------------------------------------------------------------------

# Broker and two workers come up, healthy, without privileges.
check_start() {
  local id
  step "docker-compose up, two workers ($network network)"
  compose_up
  broker=$(containers broker)
  wait_until 90 "the broker is healthy" healthy "$broker"
  pass "the broker is healthy"
  wait_until 60 "two workers" workers_are 2
  pass "worker list shows 2"
  for id in $broker $(containers worker); do
    expect "$("$docker" inspect -f '{{.Name}}' "$id") runs as joinq" 7420 "$("$docker" exec "$id" id -u)"
    # shellcheck disable=SC2016
    expect "  process 1 is tini, without privileges" "tini 0000000000000000 1" \
      "$("$docker" exec "$id" awk '/^(Name|CapEff|NoNewPrivs):/ {printf "%s%s", s, $2; s = " "}' /proc/1/status)"
    wait_until 60 "container $id is healthy" healthy "$id"
    if "$docker" exec "$id" touch /usr/local/bin/x 2>/dev/null; then fail "the root file system is writable"; fi
  done
  pass "all are healthy, with a read-only root file system"
  if [[ $network == bridge ]]; then
    expect "gRPC is published on loopback only" "127.0.0.1:$JOINQ_PORT" "$("$docker" port "$broker" 7420)"
    expect "HTTP is published on loopback only" "127.0.0.1:$JOINQ_HTTP_PORT" "$("$docker" port "$broker" 7421)"
  fi
  on_engine_network bash -c "exec 3<>/dev/tcp/127.0.0.1/$JOINQ_PORT" || fail "the gRPC port refuses"
  pass "the gRPC port is reachable from the host"
  expect "/readyz answers from the host" 200 "$(http_status /readyz)"
  expect "the first example of the README" HELLO "$(compose exec -T broker joinq submit upper hello -Q default --wait)"
}

# A worker dies with tasks in its hands; no task is lost, and every result is right.
check_worker_killed() {
  local victim submitted=100 mapped=200 ids=$work/ids map_pid
  step "$((submitted + mapped)) tasks for two workers, one of which is killed"
  seq -f 'submitted-%03g' "$submitted" >"$work/submitted"
  seq -f 'mapped-%03g' "$mapped" >"$work/mapped"
  seq -f 'text %g' 20 >"$work/texts"
  submit_lines slow <"$work/submitted" >"$ids"
  expect "$submitted tasks acknowledged" "$submitted" "$(wc -l <"$ids")"
  timeout 180 "$docker" exec -i "$broker" joinq map slow -Q default <"$work/mapped" >"$work/mapped.got" &
  map_pid=$!
  wait_until 60 "a fifth of the tasks started" has_lines "$work/starts/slow" $((submitted / 2))
  expect "both workers take part" 2 "$(awk '{print $1}' "$work/starts/slow" | sort -u | wc -l)"
  victim=$(containers worker | head -n 1)
  "$docker" kill -s KILL "$victim" >/dev/null
  step "killed one worker after $(wc -l <"$work/starts/slow") starts"
  results_of <"$ids" >"$work/submitted.got" || fail "joinq result of the tasks submitted: status $?"
  tr '[:lower:]' '[:upper:]' <"$work/submitted" >"$work/submitted.want"
  expect_same "all results of joinq submit are right" "$work/submitted.want" "$work/submitted.got"
  wait "$map_pid" || fail "joinq map: status $?"
  tr '[:lower:]' '[:upper:]' <"$work/mapped" >"$work/mapped.want"
  expect_same "all results of joinq map are right and in order" "$work/mapped.want" "$work/mapped.got"
  joinq join default --timeout 60 >/dev/null || fail "joinq join"
  pass "join returns"
  local again
  again=$(awk '{print $2}' "$work/starts/slow" | sort | uniq -d | wc -l)
  ((again > 0)) || fail "the kill hit no task in flight"
  pass "the kill hit work in flight: $again tasks started a second time"
  wait_until 60 "the dead worker leaves the list" workers_are 1
  pass "worker list shows 1"
  submit_lines sha256 <"$work/texts" | results_of | awk '{print $1}' >"$work/texts.got"
  while read -r line; do printf '%s' "$line" | sha256sum | awk '{print $1}'; done <"$work/texts" >"$work/texts.want"
  expect_same "the survivor goes on working" "$work/texts.want" "$work/texts.got"
}

# Process 1 reaps: neither tasks nor orphans stay as zombies.
check_reaping() {
  local id
  step "zombies"
  id=$(containers worker | head -n 1)
  "$docker" exec "$id" sh -c '(sleep 0.2 &) ; (sh -c "sleep 0.1 & exec sleep 0.3" &)'
  sleep 1
  expect "no zombie in the worker's container" 0 \
    "$("$docker" exec "$id" sh -c 'cat /proc/[0-9]*/status 2>/dev/null | grep -c "^State:.Z" || true')"
}

# What the broker acknowledged outlives it and its container.
check_broker_killed() {
  step "killing the broker, recreating it on its volume"
  joinq queue create hold >/dev/null
  joinq put hold "survives the broker" >/dev/null
  "$docker" kill -s KILL "$broker" >/dev/null
  "$docker" rm "$broker" >/dev/null
  compose_up
  local old=$broker
  broker=$(containers broker)
  [[ -n $broker && $broker != "$old" ]] || fail "the broker was not recreated"
  wait_until 90 "the broker is healthy again" healthy "$broker"
  expect "an acknowledged task survived" "survives the broker" "$(joinq get hold --timeout 5)"
  wait_until 60 "two workers are back" workers_are 2
  pass "worker list shows 2 again"
  expect "tasks flow again" AGAIN "$(joinq submit upper again -Q default --wait)"
}

# A stopped worker finishes what it runs and exits with 0.
check_worker_stops() {
  local ids id start
  step "stopping the workers while they work"
  ids=$(containers worker)
  submit_lines long < <(seq -f 'long-%g' 4) >"$work/long.ids"
  wait_until 30 "four tasks run" has_lines "$work/starts/long" 4
  start=$SECONDS
  # shellcheck disable=SC2086
  "$docker" stop -t 45 $ids >/dev/null
  ((SECONDS - start < 40)) || fail "the workers took $((SECONDS - start)) s to stop"
  for id in $ids; do
    expect "a worker stopped in time with status 0" 0 "$("$docker" inspect -f '{{.State.ExitCode}}' "$id")"
  done
  results_of <"$work/long.ids" >"$work/long.got" || fail "joinq result of what they ran: status $?"
  seq -f 'finished long-%g' 4 >"$work/long.want"
  expect_same "what they ran was finished" "$work/long.want" "$work/long.got"
  expect "and nothing ran twice" 4 "$(wc -l <"$work/starts/long")"
}

# The broker ends with 0 on TERM, and all goes away.
check_down() {
  step "docker-compose down"
  timeout 60 "${compose_command[@]}" stop broker >/dev/null 2>&1
  expect "the broker stopped with status 0" 0 "$("$docker" inspect -f '{{.State.ExitCode}}' "$broker")"
  timeout 120 "${compose_command[@]}" down -v >/dev/null 2>&1 || fail "docker-compose down"
  expect "no container is left" "" "$("$docker" ps -aq --filter "label=com.docker.compose.project=$project")"
  expect "no volume is left" "" "$("$docker" volume ls -q --filter "label=com.docker.compose.project=$project")"
  project_is_up=
}

# ---- the whole ---------------------------------------------------------------------------------------------------

# Reads the command line.
parse() {
  while (($#)); do
    case $1 in
      --from-source) source_mode=from-source ;;
      --prebuilt)
        [[ $# -gt 1 ]] || fail "--prebuilt needs a folder"
        source_mode=prebuilt prebuilt=$2
        shift
        ;;
      --network)
        [[ ${2-} == @(auto|bridge|host) ]] || fail "--network needs auto, bridge or host"
        network=$2
        shift
        ;;
      --compose)
        [[ ${2-} == @(1|2) ]] || fail "--compose needs 1 or 2"
        compose_version=$2
        shift
        ;;
      -h | --help)
        sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
      *)
        echo "$0: unknown argument: $1" >&2
        exit 2
        ;;
    esac
    shift
  done
}

# Finds or starts an engine, and builds the image in it.
provide_engine_and_image() {
  need docker=docker.io python3=python3
  [[ $compose_version != 1 ]] || need docker-compose=docker-compose
  if engine_answers; then
    step "using the engine that answers: $("$docker" version -f '{{.Server.Version}}')"
    [[ $network != auto ]] || network=bridge
    provide_base
    build_image
    return
  fi
  ((EUID == 0)) || fail "no engine answers, and starting one needs root: sudo $0"
  need dockerd=docker.io ip=iproute2 iptables=iptables unshare=util-linux pgrep=procps
  [[ -e /etc/docker/key.json ]] || key_is_ours=yes
  if [[ $network == auto ]]; then
    if kernel_bridges; then network=bridge; else network=host; fi
  fi
  # The build needs the machine's network, to reach a package mirror.
  start_engine host || { tail -n 20 "$engine_log" >&2; fail "dockerd does not start"; }
  step "started an engine: $("$docker" version -f '{{.Server.Version}}'), client $("$docker" version -f '{{.Client.Version}}')"
  provide_base
  build_image
  if [[ $network == bridge ]]; then
    stop_engine
    start_engine bridge || { tail -n 20 "$engine_log" >&2; fail "dockerd does not start in a network namespace"; }
    step "restarted it in a network namespace of its own"
  fi
}

main() {
  parse "$@"
  [[ -z $prebuilt ]] || prebuilt=$(cd "$prebuilt" && pwd)
  trap cleanup EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  work=$(mktemp -d /tmp/joinq-docker.XXXXXX)
  provide_engine_and_image
  if [[ $compose_version == 1 ]]; then compose_tool=(docker-compose); else compose_tool=("$docker" compose); fi
  "${compose_tool[@]}" version >/dev/null 2>&1 || fail "${compose_tool[*]} is not installed"
  step "compose: $("${compose_tool[@]}" version --short)"
  check_config
  check_image
  prepare_compose
  check_start
  check_worker_killed
  check_reaping
  check_broker_killed
  check_worker_stops
  check_down
  step "done"
  echo "docker test: $checks checks passed"
}

main "$@"
