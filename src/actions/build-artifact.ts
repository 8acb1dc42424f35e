import { resolve } from 'node:path';
import { type ArtifactFile, newArtifact, titleAnnotation } from '../artifact';
import { type BlobSink, bytesBlob, bytesOf } from '../blob';
import type { Bytes } from '../compression';
import type { Digest } from '../digest';
import { AmbiguousManifestError, InvalidOptionError, LayerSourceError } from '../errors';
import { listFiles, steadyFile } from '../layer/files';
import { createLayout } from '../layout/create';
import { listNames } from '../layout/find';
import type { ImageSource } from '../layout/source';
import { layoutWriter } from '../layout/write';
import { descriptorOf, type Image } from '../ref';
import type { Descriptor } from '../spec/documents';
import { treeFile } from '../tree';
import type { ArtifactOptions } from './artifact-options';
import { checkTag } from './tag';

/** What one build of an artifact takes. */
export interface BuildArtifact {
  readonly options: ArtifactOptions;
  /** Absolute path that files are relative to. */
  readonly root: string;
  /** Absolute path of the layout to write. */
  readonly output: string;
  /** What `options.subject` names. */
  readonly subject?: ImageSource;
}

/** What was built. */
export interface BuiltArtifact {
  readonly digest: Digest;
  readonly path: string;
  readonly tag: string;
  readonly artifactType: string;
  readonly layers: readonly { readonly title?: string; readonly digest: Digest; readonly size: number }[];
}

/**
 * Builds an artifact manifest over files and writes it as the one root of a layout.
 *
 * @throws {InvalidOptionError}, {@link LayerSourceError}, and what {@link layoutWriter} throws.
 */
export async function buildArtifact({ options, root, output, subject }: BuildArtifact): Promise<BuiltArtifact> {
  const tag = checkTag(options.tag ?? 'latest');
  const about = subject && (await subjectOf(subject));
  const writer = await layoutWriter(output);
  try {
    const artifact = await assembleArtifact(options, root, writer, about);
    const tree = await createLayout(artifact, { tag });
    await writer.commit(new Map([...tree, treeFile('digest', Buffer.from(artifact.digest))]));
    const { artifactType, config, layers } = artifact.manifest;
    return {
      digest: artifact.digest,
      path: output,
      tag,
      artifactType: artifactType ?? config.mediaType,
      layers: layers.map(summaryOf),
    };
  } finally {
    await writer.close();
  }
}

/** The artifact's manifest over its files, whose content went to the sink. */
export async function assembleArtifact(
  options: ArtifactOptions,
  root: string,
  sink: BlobSink,
  subject?: Descriptor,
): Promise<Image> {
  const { artifactType, annotations, config } = options;
  const files: ArtifactFile[] = [];
  for (const source of options.files ?? []) files.push(...(await writeFilesOf(source, root, sink)));
  rejectSameTitles(files);
  const configContent =
    config && (await bytesOf(steadyFile(resolve(root, config.from)).open(), undefined, config.from));
  return newArtifact(files, {
    artifactType,
    annotations,
    subject,
    ...(config && configContent && { config: { mediaType: config.mediaType, content: configContent } }),
  });
}

/** The one manifest of a reference, as what an artifact speaks of. */
export async function subjectOf(source: ImageSource): Promise<Descriptor> {
  const [only, ...more] = await source.read();
  if (only && more.length === 0) return descriptorOf(only.ref);
  const found = [only, ...more].flatMap((source) => source?.descriptor ?? []);
  throw new AmbiguousManifestError(
    `subject ${source.name}: expected one manifest, found ${found.length} (${listNames(found)}); name one as ${source.name}:<tag> or ${source.name}@<digest>`,
    { expected: '1', found: String(found.length) },
  );
}

type FilesOptions = NonNullable<ArtifactOptions['files']>[number];

async function writeFilesOf(source: FilesOptions, root: string, sink: BlobSink): Promise<ArtifactFile[]> {
  const { include, exclude, mediaType = 'application/octet-stream', titles = true } = source;
  const from = resolve(root, source.from);
  const entries = await listFiles({ from: [from], include, exclude, followSymlinks: true });
  const files: ArtifactFile[] = [];
  for (const { name, type, content } of entries) {
    if (type !== 'file' || content === undefined) continue;
    const { digest, size, blob } = await sink.write(streamed(content()));
    const annotations = titles && { annotations: { [titleAnnotation]: name } };
    files.push({ descriptor: { mediaType, digest, size, ...annotations }, blob });
  }
  if (files.length > 0) return files;
  throw new InvalidOptionError(`option "files": expected files in ${source.from}, found none`, { found: source.from });
}

/** Two files of one name would be one when the artifact is unpacked. */
function rejectSameTitles(files: readonly ArtifactFile[]): void {
  const titles = new Set<string>();
  for (const { descriptor } of files) {
    const title = descriptor.annotations?.[titleAnnotation];
    if (title === undefined) continue;
    if (titles.has(title)) {
      throw new LayerSourceError(
        `${title}: expected one file of this name in the artifact, found two; take them from a common directory`,
        { found: title },
      );
    }
    titles.add(title);
  }
}

function streamed(content: Uint8Array | Bytes): Bytes {
  return content instanceof Uint8Array ? bytesBlob(content).open() : content;
}

function summaryOf({ digest, size, annotations }: Descriptor): BuiltArtifact['layers'][number] {
  const title = annotations?.[titleAnnotation];
  return { digest, size, ...(title !== undefined && { title }) };
}
