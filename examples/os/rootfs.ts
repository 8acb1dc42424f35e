import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { hello } from './hello.js';
import { unusualNames } from './names.js';
import { type Architecture, architectures } from './processors.js';
import { readings } from './readings.js';
import { emptyDirectory, executable, file, symlink, type Tree, writeTree } from './tree.js';

const OS_RELEASE = `NAME="Example OS"
ID=example
VERSION_ID=1.0
PRETTY_NAME="Example OS 1.0"
HOME_URL="https://github.com/opencontainers/image-spec"
`;

const PASSWD = `root:x:0:0:root:/root:/sbin/nologin
nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin
`;

const GROUP = `root:x:0:
nonroot:x:65532:
`;

const COUNT_READINGS = `#!/bin/sh
# Counts the files of readings. The image has no shell: run this where there is one.
find "$(dirname "$0")/readings" -name '*.csv' | wc -l
`;

/** Writes one root file system per architecture, `linux-amd64` and `linux-arm64`, replacing what was there. */
export function writeRootfs(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  for (const architecture of architectures) {
    writeTree(join(directory, `linux-${architecture}`), rootfs(architecture));
  }
}

/** Only `bin` depends on the architecture: the layers of `etc` and `share` are the same on every platform. */
function rootfs(architecture: Architecture): Tree {
  return {
    'etc/os-release': file(OS_RELEASE),
    'etc/passwd': file(PASSWD),
    'etc/group': file(GROUP),
    'bin/hello': executable(hello(architecture)),
    'bin/hi': symlink('hello'),
    'share/count-readings': executable(COUNT_READINGS),
    'share/latest': symlink('readings/station-29'),
    'share/dangling': symlink('no-such-file'),
    'share/program': symlink('../../bin/hello'),
    'share/empty': emptyDirectory,
    ...readings(),
    ...unusualNames(),
  };
}
