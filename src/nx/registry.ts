import type { ExecutorContext } from '@nx/devkit';
import * as z from 'zod';
import { isInRegistry } from '../actions/image-reference';
import { registryOptionsSchema } from '../actions/registry-options';
import { servedReferences, serveImages } from '../actions/serve-images';
import { InvalidOptionError } from '../errors';
import type { ServedLayout } from '../registry/server/layouts';
import type { Registry } from '../registry/server/start-registry';
import { checkDocument } from '../spec/json';
import { failureReport } from '../terminal/failure';
import { registryReport } from '../terminal/reports';
import { devkit } from './devkit';
import { resolveImages } from './images';
import { targetName } from './target';

/** The options of the `registry` executor. */
export const registryExecutorSchema = registryOptionsSchema.extend({
  layouts: z
    .array(
      z.strictObject({
        image: z
          .string()
          .describe('What is served: a target ("os:index"), or an OCI layout or archive ("path" or "path:tag").'),
        repository: z.string().describe('The repository that it is served in.'),
        tag: z
          .string()
          .describe('The tag that it is served under. By default every image has the tag that it has in its layout.')
          .optional(),
      }),
    )
    .describe('What the registry serves from its start.')
    .optional(),
});

/**
 * Serves layouts until the task is stopped. Targets that wait for it find its URL in NX_READY_URL, from Nx 24 on; before
 * that they ask `/v2/` at a port that the options name.
 */
export async function* runRegistry(
  rawOptions: unknown,
  context: ExecutorContext,
): AsyncGenerator<{ success: boolean; baseUrl?: string }> {
  let registry: Registry;
  try {
    registry = await startTarget(rawOptions, context);
    devkit().logger.info(registryReport(registry.url, await servedReferences(registry)));
  } catch (error) {
    devkit().logger.error(failureReport(error));
    yield { success: false };
    return;
  }
  const ended = endOfRun();
  // Nx 23 has no such signal.
  devkit().emitReadySignal?.(registry.url);
  yield { success: true, baseUrl: registry.url };
  await ended;
  await registry.close();
}

/** A signal or, where Nx itself is gone and sends none, the end of the channel to it. */
function endOfRun(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
    process.once('disconnect', resolve);
  });
}

async function startTarget(rawOptions: unknown, context: ExecutorContext): Promise<Registry> {
  const { layouts = [], ...options } = checkDocument(
    rawOptions,
    registryExecutorSchema,
    `options of ${targetName(context)}`,
  );
  const served = layouts.map(({ image, ...place }): ServedLayout => ({ path: pathOf(image, context), ...place }));
  return serveImages(served, options, context.root);
}

function pathOf(image: string, context: ExecutorContext): string {
  const reference = resolveImages(image, 'layouts', context);
  if (isInRegistry(reference)) {
    throw new InvalidOptionError(
      `option "layouts": expected a target or a layout, found ${image}, which is in a registry; "nx-oci pull" it first`,
      { expected: 'a target or a layout', found: image },
    );
  }
  const { path, tag, digest } = reference;
  return digest === undefined ? `${path}${tag === undefined ? '' : `:${tag}`}` : `${path}@${digest}`;
}
