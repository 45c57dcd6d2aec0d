# Whether an engine makes tokens: its counters have moved since the last look or, when they stand still, it answers a request for one token.
# /health comes from another thread and says 200 while the GPU hangs. Only silence is death: any answer will do, an error too.
# sh progress.sh URL SECONDS: how long it may be silent. A token is asked for only when nothing was made meanwhile, so it waits for nobody.
url=$1 seconds=$2 seen="${HOME:-/tmp}/progress"
counters='^(@COUNTERS@)'
now=$(curl --silent --max-time 10 "$url/metrics" | grep -E "$counters")
before=$(cat "$seen" 2>/dev/null)
printf %s "$now" > "$seen"
if [ -n "$now" ] && [ "$now" != "$before" ]; then exit 0; fi
exec curl --silent --output /dev/null --max-time "$seconds" \
  --header 'Content-Type: application/json' --data '{"prompt": "a", "max_tokens": 1}' "$url/v1/completions"
