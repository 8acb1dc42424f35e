import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { hello } from '../../examples/os/hello';
import { architectures } from '../../examples/os/processors';
import {
  bytesBlob,
  configPlatform,
  type Descriptor,
  type Digest,
  descriptorOf,
  digestOf,
  type Image,
  newArtifact,
  newIndex,
  type Ref,
  readConfig,
  tagOf,
  verifyLayout,
  walkRefs,
} from '../../src';
import { sampleImage, sourceOf, taggedLayout, temporaryDirectory, writeFiles } from '../fixtures';
import { buildImage } from './programs';

export type Kind = 'image' | 'index' | 'artifact';

/** A layout with one root, tagged `latest`. */
export interface Content {
  readonly kind: Kind;
  readonly layout: string;
  readonly root: Ref;
}

export const sbomType = 'application/vnd.example.sbom+json';

/** Of each kind one: an image that greets, an index of such images, and an artifact whose subject the image is. */
export type Contents = Readonly<Record<Kind, Content>>;

export async function makeContents(): Promise<Contents> {
  const programs = architectures.map((architecture) => [`bin-${architecture}/hello`, hello(architecture)] as const);
  const built = await buildImage(
    {
      platforms: architectures.map((architecture) => `linux/${architecture}`),
      layers: [
        { from: 'bin-{arch}', to: '/usr/bin', mode: '0755' },
        { from: 'etc', to: '/etc' },
      ],
      entrypoint: ['/usr/bin/hello'],
    },
    { ...Object.fromEntries(programs), 'etc/motd': 'welcome\n' },
  );
  const images = (await sourceOf(built.path).read()).map(({ ref }) => ref as Image);
  const platforms = await Promise.all(images.map(async (image) => configPlatform(await readConfig(image))));
  const image = images[0] as Image;
  const index = newIndex(images.map((ref, position) => ({ ref, platform: platforms[position] })));
  return {
    image: await contentOf('image', image),
    index: await contentOf('index', index),
    artifact: await contentOf('artifact', sbomOf(image)),
  };
}

/** An artifact that says something of an image. */
export function sbomOf(image: Ref, text = '{"packages":[]}'): Image {
  const bytes = Buffer.from(text);
  const descriptor: Descriptor = { mediaType: sbomType, digest: digestOf(bytes), size: bytes.length };
  return newArtifact([{ descriptor, blob: bytesBlob(bytes) }], {
    artifactType: sbomType,
    subject: descriptorOf(image),
    annotations: { 'org.example.by': 'a test' },
  });
}

/** An image whose layer has more bytes than go into the buffers on their way. */
export async function largeContent(bytes: number): Promise<Content> {
  return contentOf('image', await sampleImage([randomBytes(bytes).toString('latin1')]));
}

export async function contentOf(kind: Kind, root: Ref): Promise<Content> {
  return { kind, root, layout: await taggedLayout({ latest: root }) };
}

/** The digest of the root of a layout, all of which is verified. */
export async function rootOf(layout: string): Promise<Digest> {
  return (await verifiedRoot(layout)).digest;
}

/** The digests of the configs of all images of a layout, which say what is in them however it was packed. */
export async function configsOf(layout: string): Promise<Digest[]> {
  const configs: Digest[] = [];
  await walkRefs(await verifiedRoot(layout), (ref) => {
    if (ref.kind === 'image') configs.push(ref.manifest.config.digest);
  });
  return configs.sort();
}

async function verifiedRoot(layout: string): Promise<Ref> {
  const { problems } = await verifyLayout(layout);
  if (problems.length > 0) throw new Error(`${layout}: ${problems.map(({ message }) => message).join('\n')}`);
  const found = await sourceOf(layout).read();
  // oras lists every manifest beside the root, and crane gives the root no tag.
  const root = found.length === 1 ? found[0] : found.find(({ descriptor }) => tagOf(descriptor) === 'latest');
  if (root === undefined) throw new Error(`${layout}: expected one root, found ${found.length}`);
  return root.ref;
}

/** A file in a directory of its own. */
export function fileWith(name: string, content: string | Uint8Array): string {
  return join(writeFiles(temporaryDirectory(), { [name]: content }), name);
}
