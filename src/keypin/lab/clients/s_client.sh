#!/bin/sh
# openssl s_client: verifies the authority and the name, and pins nothing. s_client.sh HOST PORT CAFILE
case $1 in
    *[!0-9.]*) name="-servername $1 -verify_hostname $1" ;;
    *) name="-verify_ip $1" ;;
esac
printf 'GET / HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer what only the pinned server may learn\r\nConnection: close\r\n\r\n' "$1" |
    timeout 4 openssl s_client -quiet -verify_quiet -verify_return_error -connect "$1:$2" $name -CAfile "$3" |
    grep -q '^HTTP/1.1 200'
