import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory, writeFiles } from '../fixtures';

/** Monogon's own writer of OS images, and a program around its reader. */
export interface MonogonPrograms {
  /** The path of the writer. */
  readonly mkoci: string;
  /** The path of a program that prints name, size and hash of each payload of a layout. */
  readonly reader: string;
}

const version = 'v0.0.0-20250630000245-8b9bf216bd4a';
const packages = ['osbase/build/mkoci', 'osbase/oci', 'osbase/structfs'];

/** What the packages above need, without all that the rest of the repository does. */
const goMod = `module source.monogon.dev

go 1.23.1

require (
	github.com/klauspost/compress v1.17.11
	github.com/opencontainers/go-digest v1.0.0
	github.com/opencontainers/image-spec v1.1.0
)
`;

const reader = `package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"os"

	"source.monogon.dev/osbase/oci"
	"source.monogon.dev/osbase/oci/osimage"
)

func main() {
	image := must(oci.ReadLayout(os.Args[1]))
	osImage := must(osimage.Read(image))
	for _, info := range osImage.Config.Payloads {
		payload := must(osImage.Payload(info.Name))
		content := must(payload.Open())
		hash := sha256.New()
		size := must(io.Copy(hash, content))
		fmt.Printf("%s %d sha256:%x\\n", info.Name, size, hash.Sum(nil))
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
`;

/** Gets Monogon's code as a Go module and builds it, or says why it can't be had. */
export function buildMonogon(): MonogonPrograms | { readonly missing: string } {
  const cwd = writeFiles(temporaryDirectory(), { 'go.mod': goMod, 'reader/main.go': reader });
  const go = (...args: string[]) =>
    execFileSync('go', args, { cwd, encoding: 'utf8', env: { ...process.env, GOFLAGS: '-mod=mod' }, stdio: 'pipe' });
  try {
    go('version');
  } catch {
    return { missing: 'a Go toolchain' };
  }
  let module: string;
  try {
    module = JSON.parse(go('mod', 'download', '-json', `github.com/monogon-dev/monogon@${version}`)).Dir;
  } catch {
    return { missing: `the Go module github.com/monogon-dev/monogon@${version}` };
  }
  for (const path of packages) {
    mkdirSync(join(cwd, path), { recursive: true });
    // Others of its packages need more.
    const filter = (source: string) => !source.endsWith('_test.go') && !source.endsWith('/registry');
    cpSync(join(module, path), join(cwd, path), { recursive: true, filter });
  }
  go('build', '-o', 'bin/', './osbase/build/mkoci', './reader');
  return { mkoci: join(cwd, 'bin/mkoci'), reader: join(cwd, 'bin/reader') };
}
