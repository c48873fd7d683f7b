#!/usr/bin/env bash
# Upload a file by nothing but curl:
#   ./upload.sh film.mp4 http://127.0.0.1:1080/files/
# What was interrupted goes on where it stopped when the same command is run again: the URL of the upload is kept
# beside the file, in film.mp4.upload, until it is finished.
set -euo pipefail

file=${1:?usage: upload.sh FILE [URL]}
endpoint=${2:-http://127.0.0.1:1080/files/}
size=$(stat --format=%s "$file")
kept=$file.upload
tries=30

tus() {
    curl --silent --show-error --fail --header 'Tus-Resumable: 1.0.0' "$@"
}

# The value of one field of the answer's head, which comes by stdin.
field() {
    tr -d '\r' | sed -n "s/^$1: //Ip"
}

if [[ ! -s $kept ]]; then
    name=$(basename "$file" | tr -d '\n' | base64 --wrap=0)
    tus --dump-header - --output /dev/null --request POST --header "Upload-Length: $size" \
        --header "Upload-Metadata: filename $name" "$endpoint" | field Location >"$kept"
fi
url=$(<"$kept")

for ((try = 1; try <= tries; try++)); do
    # How much the server has decides where to go on, not what was sent.
    if offset=$(tus --head "$url" | field Upload-Offset) && [[ -n $offset ]]; then
        if ((offset == size)); then
            rm "$kept"
            echo "$url"
            exit
        fi
        tail --bytes=+$((offset + 1)) "$file" | tus --request PATCH --header "Upload-Offset: $offset" \
            --header 'Content-Type: application/offset+octet-stream' --upload-file - "$url" || sleep 1
    else
        sleep 1
    fi
done
echo "gave up after $tries tries; the same command goes on (if the server has forgotten it, remove $kept)" >&2
exit 1
