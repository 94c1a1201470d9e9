# A worker: tells its pid to the fifo $1, then does nothing.
echo $$ >"$1"
exec sleep 60
