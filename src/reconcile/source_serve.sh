# Serves the place on S3 $2 as the files in $1 until it is told to stop. $3… are options of `rclone mount`.
# What goes wrong is said by rclone itself, on stderr.
set -u
files=$1 place=$2
shift 2

# In a file rather than in rclone's own variables: it names its cache after what these change, and what was
# not sent with an old key is to be sent with a new one.
umask 077
cat >/tmp/rclone.conf <<END
[place]
type = s3
provider = $PLACE_PROVIDER
endpoint = $PLACE_ENDPOINT
region = $PLACE_REGION
access_key_id = $PLACE_ACCESS_KEY_ID
secret_access_key = $PLACE_SECRET_ACCESS_KEY
force_path_style = $PLACE_PATH_STYLE
env_auth = false
no_check_bucket = true
chunk_size = 8Mi
upload_concurrency = 2
END
export RCLONE_CONFIG=/tmp/rclone.conf

# A program that was killed left a mount behind that answers to nobody.
umount -l "$files" 2>/dev/null

# Mounting succeeds whatever is at the other end, so that is asked before. A directory of very many files
# takes long to list; that it is being listed is enough.
timeout 30 rclone lsf --max-depth 1 --retries 1 --low-level-retries 2 --contimeout 10s --timeout 20s \
  "$place" >/dev/null
case $? in 0 | 124 | 143) ;; *) exit 1 ;; esac

unsent() { grep -rqs '"Dirty": *true' /cache/vfsMeta; }
asked=
# What was written is sent first: rclone itself would leave it in its cache until it is mounted again.
stop() {
  asked=yes
  while unsent && kill -0 $served; do sleep 0.5; done
  kill -TERM $served
}
rclone mount "$@" "$place" "$files" &
served=$!
trap stop TERM INT
wait $served
ended=$?
# A signal ended that wait; this one is for the end.
if [ -n "$asked" ]; then wait $served; fi
umount -l "$files" 2>/dev/null
# 0 says that all is sent.
if unsent; then exit 3; fi
if [ -n "$asked" ]; then exit 0; fi
exit $ended
