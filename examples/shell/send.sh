#!/bin/sh
# Sends a message to a user of any node, sealed by gpg to that node: docs/protocol.md, section 5,
# by hand, and a TEXT of section 8.
#
#	send.sh bob@other.example 'Hello, Bob!'
#
# tipt signs in, fetches the key of bob's node and hands over what gpg sealed to it; it sees neither
# text nor recipient. bob's node sees both: this does not ask whether bob has a key of his own, to seal
# to that too, as `tipt send` does. Sign in with `tipt sign-in` first; TIPT_AS chooses among several accounts.
# It needs gpg 2.1.14 or later, tipt, and a date that knows %3N.
set -eu
export LC_ALL=C # lengths are in bytes

if [ $# -ne 2 ] || [ "${1%@*}" = "$1" ]; then
	echo "usage: send.sh NAME@NODE TEXT" >&2
	exit 2
fi
to=${1%@*} node=${1##*@} text=$2

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM

# msgpack, in the smallest form that holds a value.

byte() {
	printf "\\$(printf %03o "$1")"
}

# big NUMBER BYTES
big() {
	shift_by=$(($2 * 8))
	while [ "$shift_by" -gt 0 ]; do
		shift_by=$((shift_by - 8))
		byte $((($1 >> shift_by) & 255))
	done
}

str() {
	if [ ${#1} -lt 32 ]; then
		byte $((0xa0 + ${#1}))
	elif [ ${#1} -lt 256 ]; then
		byte 0xd9
		big ${#1} 1
	elif [ ${#1} -lt 65536 ]; then
		byte 0xda
		big ${#1} 2
	else
		byte 0xdb
		big ${#1} 4
	fi
	printf %s "$1"
}

# bin FILE
bin() {
	size=$(wc -c <"$1")
	if [ "$size" -lt 256 ]; then
		byte 0xc4
		big "$size" 1
	elif [ "$size" -lt 65536 ]; then
		byte 0xc5
		big "$size" 2
	else
		byte 0xc6
		big "$size" 4
	fi
	cat "$1"
}

now=$(date +%s%3N) # ms since 1970, which need a uint 64

# The message's id, a UUID of version 7: the time, then random bytes.
{
	big "$now" 6
	# shellcheck disable=SC2046 # ten words
	set -- $(od -An -N10 -tu1 /dev/urandom)
	byte $((0x70 | $1 & 0x0f))
	byte "$2"
	byte $((0x80 | $3 & 0x3f))
	shift 3
	for random; do byte "$random"; done
} >"$tmp/mid"

# What bob's client gets: map {type TEXT, body {text, time}}.
{
	byte 0x82
	str type && byte 0
	str body && byte 0x82
	str text && str "$text"
	str time && byte 0xcf && big "$now" 8
} >"$tmp/content"

# What his node gets: map {type MESSAGE, body {to, mid, msg}}.
{
	byte 0x82
	str type && byte 0
	str body && byte 0x83
	str to && str "$to"
	str mid && bin "$tmp/mid"
	str msg && bin "$tmp/content"
} >"$tmp/request"

# seal [--new] seals the request to the key of the node: one literal packet, not compressed.
seal() {
	tipt key "$@" "$node" >"$tmp/key"
	mkdir -p -m 700 "$tmp/gnupg"
	gpg --homedir "$tmp/gnupg" --batch --yes --quiet --compress-algo none \
		--recipient-file "$tmp/key" --output "$tmp/sealed" --encrypt "$tmp/request"
}

# forward hands it over, a second time when the outcome is unknown: it arrives once.
forward() {
	status=0
	tipt forward "$node" <"$tmp/sealed" >"$tmp/answer" || status=$?
	if [ "$status" -eq 6 ]; then
		status=0
		tipt forward "$node" <"$tmp/sealed" >"$tmp/answer" || status=$?
	fi
	[ "$status" -eq 0 ] || exit "$status"
	answer=$(od -An -v -tx1 "$tmp/answer" | tr -d ' \n')
}

# said prints err's `msg` where there is one, but nothing that could command the terminal.
said() {
	hex=${answer#*a36d7367} # the key
	[ "$hex" != "$answer" ] || return 0
	case $hex in
	d9*) head=4 size=$((0x$(printf %s "$hex" | cut -c 3-4))) ;;
	*) head=2 size=$((0x$(printf %s "$hex" | cut -c 1-2) & 31)) ;;
	esac
	printf %s "$hex" | cut -c "$((head + 1))-$((head + 2 * size))" | fold -w 2 | while read -r two; do
		byte "0x$two"
	done | tr -c ' -~' '?'
	printf ': '
}

seal
forward
case $answer in
*a4636f646534*) # code 0x34, CANNOT_OPEN: the node has another key now
	seal --new
	forward
	;;
esac
case $answer in
81a4626f6479c0) ;; # {body: nil}
*)
	echo "send.sh: $node refuses: $(said)$answer" >&2
	exit 5
	;;
esac
