import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { executorSchemas, optionTable, schemaText } from '../src/nx/schemas';

/** Writes what is generated from the options' schemas: each executor's schema.json, and the option tables in docs/. */

// From lib/executors, where the compiled file lies.
const root = join(__dirname, '../..');

/** The pages that show the options of an executor between two comments. */
const pages: Readonly<Record<string, readonly string[]>> = {
  image: ['docs/image.md', 'README.md'],
  index: ['docs/index.md'],
  artifact: ['docs/artifact.md'],
  'os-image': ['docs/os-image.md'],
  registry: ['docs/registry.md'],
  push: ['docs/push.md'],
  'release-publish': ['docs/release-publish.md'],
};

for (const name of Object.keys(executorSchemas)) {
  writeFileSync(join(root, 'executors', name, 'schema.json'), schemaText(name));
  for (const page of pages[name] ?? []) {
    const path = join(root, page);
    const [before = '', , after = ''] = readFileSync(path, 'utf8').split(/<!-- (?:end )?options -->/);
    writeFileSync(path, `${before}<!-- options -->\n\n${optionTable(name)}\n\n<!-- end options -->${after}`);
  }
}
