import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import {
  appendLayer,
  bytesBlob,
  type Digest,
  digestOf,
  emptyImage,
  type Image,
  mediaTypes,
  newIndex,
  OciError,
  parsePlatform,
  type Ref,
  sealImage,
  walkRefs,
} from '../../src';
import { inLanes } from '../../src/concurrency';
import { type RegistryClient, registryClient } from '../../src/registry/client';
import { pushRef } from '../../src/registry/push';
import type { Fault } from '../../src/registry/server/faults';
import { type Registry, startRegistry } from '../../src/registry/server/start-registry';
import { temporaryDirectory } from '../fixtures';
import { type Random, seededRandom } from './random';

const operations = Number(process.env.SOAK_OPERATIONS ?? 10_000);
const seed = Number(process.env.SOAK_SEED ?? Date.now() % 2 ** 31);

const repositories = ['os', 'os/base', 'team/app', 'team/app-2'];
/** At the same time; each has tags of its own, so that it knows what they may name. */
const lanes = 4;
const tagsOf = (lane: number) => Array.from({ length: 10 }, (_, number) => `v${lane}-${number}`);

/** Tries that follow one another at once: what is tested is what they do, not how long they wait. */
const policy = { attempts: 5, deadline: 60_000, firstDelay: 1, longestDelay: 4 };

/** Everything that can go wrong, some of it for good: then the operation fails, and what was there stays. */
function anyFault(random: Random, { url }: Registry): Fault {
  const times = 1 + random.below(3);
  return random.one<Fault>([
    { times, status: random.one([429, 500, 502, 503, 504]), retryAfter: random.one([0, 'nonsense', -1]) },
    { times, hangUp: random.one(['before', 'after']) },
    { times, method: 'GET', cutAfter: random.below(20_000) },
    { times, cutUploadAfter: random.below(20_000) },
    { times: 1, method: 'GET', flipByte: random.below(400) },
    { times, ignoreRange: true },
    { times, refuseMount: true },
    { times, delay: random.below(3) },
    // To another origin, which is this registry again.
    { times, redirect: url.replace('127.0.0.1', 'localhost') },
    { times: 1, authorization: 'Bearer of-somebody-else' },
    { times: 1, method: 'PUT', status: 413 },
    { times: 1, method: 'GET', headers: { 'content-range': 'bytes 1-2/3' } },
  ]);
}

/** Layers that images share, so that some are there already when they are pushed. */
function layerPool(random: Random): readonly Buffer[] {
  return Array.from({ length: 60 }, () => random.bytes(random.one([0, 1, 700, 9_000, 40_000])));
}

function anyImage(random: Random, pool: readonly Buffer[]): Image {
  let draft = emptyImage(parsePlatform(random.one(['linux/amd64', 'linux/arm64'])));
  for (let layers = 1 + random.below(3); layers > 0; layers--) {
    const content = random.one(pool);
    const digest = digestOf(content);
    const descriptor = { mediaType: mediaTypes.layer, digest, size: content.length };
    draft = appendLayer(draft, { descriptor, diffId: digest, blob: bytesBlob(content) }, {});
  }
  return sealImage(draft);
}

function anyRef(random: Random, pool: readonly Buffer[]): Ref {
  if (random.next() < 0.7) return anyImage(random, pool);
  return newIndex([{ ref: anyImage(random, pool) }, { ref: anyImage(random, pool) }]);
}

/** Reads all that a tag leads to, verified. */
async function pulled(client: RegistryClient, host: string, repository: string, tag: string): Promise<Digest> {
  const root = await client.repository({ registry: host, repository }).read({ tag });
  await walkRefs(root, async (ref) => {
    for (const descriptor of ref.descriptors()) await ref.readBlobVerified(descriptor);
  });
  return root.digest;
}

const openFiles = () => readdirSync('/proc/self/fd').length;

/** In bytes: of the whole process, and of what JavaScript still holds. */
function memoryInUse(): { readonly process: number; readonly held: number } {
  global.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { process: rss, held: heapUsed + external };
}

interface Story {
  registry: Registry;
  readonly client: RegistryClient;
  readonly random: Random;
  readonly pool: readonly Buffer[];
  /** What a reference may name: one digest, and after a failed push also that of the push. */
  readonly expected: Map<string, ReadonlySet<Digest>>;
  /** References of pushes that succeeded. */
  readonly acknowledged: Set<string>;
  readonly count: { pushed: number; pulled: number; failed: number };
}

async function pushOrPull(story: Story, lane: number): Promise<void> {
  const { registry, client, random, pool, expected, acknowledged, count } = story;
  const repository = random.one(repositories);
  const tag = random.one(tagsOf(lane));
  const name = `${repository}:${tag}`;
  const known = expected.get(name);
  const faults = Array.from({ length: random.below(3) }, () => registry.misbehave(anyFault(random, registry)));
  try {
    if (!acknowledged.has(name) || random.next() < 0.5) {
      const ref = anyRef(random, pool);
      const mountFrom = random.next() < 0.3 ? random.one(repositories) : undefined;
      expected.set(name, new Set([...(known ?? []), ref.digest]));
      const target = client.repository({ registry: registry.host, repository });
      await pushRef(ref, target, { tags: [tag], ...(mountFrom !== undefined && { mountFrom }) });
      expected.set(name, new Set([ref.digest]));
      acknowledged.add(name);
      count.pushed++;
    } else {
      expect(known).toContain(await pulled(client, registry.host, repository, tag));
      count.pulled++;
    }
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
    count.failed++;
  } finally {
    for (const fault of faults) fault.stop();
  }
}

test(`${operations} pushes and pulls with every fault at random (seed ${seed})`, async () => {
  const random = seededRandom(seed);
  const storage = join(temporaryDirectory(), 'storage');
  const client = registryClient({ policy });
  const story: Story = {
    registry: await startRegistry({ storage }),
    client,
    random,
    pool: layerPool(random),
    expected: new Map(),
    acknowledged: new Set(),
    count: { pushed: 0, pulled: 0, failed: 0 },
  };

  const parts = 4;
  const filesBefore = openFiles();
  const usage: { files: number; process: number; held: number }[] = [];
  for (let part = 0; part < parts; part++) {
    const laneOf = Array.from({ length: lanes }, (_, lane) => lane);
    await inLanes(laneOf, lanes, async (lane) => {
      for (let done = 0; done < operations / parts / lanes; done++) await pushOrPull(story, lane);
    });
    usage.push({ files: openFiles(), ...memoryInUse() });
    await story.registry.close();
    story.registry = await startRegistry({ storage });
  }

  const { pushed, pulled: read, failed } = story.count;
  console.info(`${pushed} pushed, ${read} pulled, ${failed} failed as they had to; seed ${seed}`, usage);
  expect(pushed + read + failed).toBeGreaterThanOrEqual(operations);
  expect(failed).toBeLessThan(operations / 2);
  const [early, late] = [usage[0], usage.at(-1)];
  expect(late?.files).toBeLessThanOrEqual((early?.files ?? 0) + 20);
  // Both ends of as many connections as are needed at once; a lost one for each fault would be hundreds.
  expect(Math.max(...usage.map(({ files }) => files))).toBeLessThan(filesBefore + 100);
  expect(late?.process).toBeLessThan((early?.process ?? 0) + 100e6);
  expect(late?.held).toBeLessThan((early?.held ?? 0) + 20e6);
  for (const name of story.acknowledged) {
    const [repository = '', tag = ''] = name.split(':');
    expect(story.expected.get(name)).toContain(await pulled(client, story.registry.host, repository, tag));
  }
  await client.close();
  await story.registry.close();
});
