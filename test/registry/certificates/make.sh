#!/bin/sh
# Makes the certificates again: of an authority of the tests, and of their servers on this machine.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: > "$work/index"
cat > "$work/config" <<END
[ca]
default_ca = tests
[tests]
database = $work/index
new_certs_dir = $work
rand_serial = yes
default_md = sha256
default_startdate = 20240101000000Z
default_enddate = 21240101000000Z
policy = names
unique_subject = no
[names]
commonName = supplied
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:false
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,DNS:registry.test,DNS:*.registry.test,IP:127.0.0.1,IP:::1
END
request() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "/CN=nx-oci test $1" -keyout "$2" -out "$work/$1.csr"
}
sign() {
  openssl ca -batch -notext -config "$work/config" -extensions "$1" -keyfile "$work/key" -in "$work/$1.csr" -out "$2" "$3" "$4"
}
request authority "$work/key"
sign authority ca.pem -selfsign -create_serial
request server server-key.pem
chmod 644 server-key.pem
sign server server.pem -cert ca.pem
