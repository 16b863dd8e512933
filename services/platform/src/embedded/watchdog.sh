# watchdog.sh USERS IDLE COMMAND… : runs the shared scratch server, and stops it when nobody has held a lock on USERS for IDLE seconds.
# Every test process holds a shared lock on USERS for as long as it lives; the exclusive lock, once got, is kept until the server is gone,
# so that a new user waits for the end of this server and then starts its own.
users=$1 idle=$2
shift 2
"$@" &
server=$!
trap 'kill -INT "$server" 2>/dev/null' INT TERM HUP
exec 9<"$users"
while kill -0 "$server" 2>/dev/null; do
  sleep "$idle" 9<&- &
  wait $!
  if flock --exclusive --nonblock 9; then
    kill -INT "$server" 2>/dev/null
    break
  fi
done
while kill -0 "$server" 2>/dev/null; do wait "$server"; done
