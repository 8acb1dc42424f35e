import { parseJson } from '../spec/json';
import { isIndexType, isManifestType, mediaTypes, withoutParameters } from '../spec/media-types';

/**
 * The media type of a manifest that came over HTTP: of the header or, where that says something else (as servers of plain
 * files do), of the body itself. Whether the two agree is checked when the manifest is parsed.
 */
export function manifestTypeOf(contentType: string | undefined, body?: Uint8Array): string {
  const said = withoutParameters(contentType ?? '');
  if (isManifestType(said) || isIndexType(said) || body === undefined) return said;
  const { mediaType, manifests } = glance(body);
  if (typeof mediaType === 'string') return mediaType;
  return manifests === undefined ? mediaTypes.imageManifest : mediaTypes.imageIndex;
}

/** What is no JSON is refused where manifests are parsed, with the reason. */
function glance(body: Uint8Array): { mediaType?: unknown; manifests?: unknown } {
  try {
    return Object(parseJson(body, 'manifest'));
  } catch {
    return {};
  }
}
